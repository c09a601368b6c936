"""A weighted sum in a common space."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths, presence
from mmx.fusion.weights import Alpha, ModalityWeights, Weights
from mmx.modalities import Features


class WeightedSum(Fusion):
    """Projects every modality to one width and adds them up, as if they were one input.

        X = Σ_m α_m (P_m x_m + b_m),  Σ_m α_m = 1 over the modalities present

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: D_out, the common width.
        alpha: ``learned``: a softmax of one number for each modality; ``fixed``: from
            ``weights``.
        weights: Modality to weight > 0, for ``fixed`` only; None: all equal.

    Raises:
        ValueError: ``weights`` are given for ``learned``, or not one for each modality.
    """

    level: ClassVar[Literal["data"]] = "data"

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1)] = 128,
        alpha: Alpha = "learned",
        weights: Weights | None = None,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.projections = nn.ModuleDict(
            {name: nn.Linear(widths[name].pooled, width) for name in self.modalities}
        )
        self.alpha = ModalityWeights(self.modalities, alpha=alpha, weights=weights)

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        pooled = self.pooled(features, present)
        projected: Tensor = torch.stack(
            [self.projections[name](x) for name, x in zip(self.modalities, pooled, strict=True)],
            dim=1,
        )  # (B, M, D_out)
        log_alpha: Tensor = self.alpha(presence(present, self.modalities))  # (B, M)
        return (log_alpha.exp()[:, :, None] * projected).sum(1)
