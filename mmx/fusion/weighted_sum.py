"""A weighted sum in a common space."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths, stack_presence
from mmx.fusion.modality_weights import Alpha, FixedWeights, ModalityWeights
from mmx.modalities import Features


class WeightedSum(Fusion):
    """Projects every modality to one width and sums them, as if they were one input.

        X = Σ_m α_m z_m,  z_m = P_m x_m + b_m,  Σ_m α_m = 1 over the modalities present
        α = softmax over the present of ln w_m, or of ln w_m + u_m · z_m for each sample

    Use it when the modalities are views of the same content and can share one space; the
    weights α are easy to read.

    With ``per_sample``, the weight of a modality depends on its own projected features; in
    ``attention`` it depends on all modalities. All u start at 0, so all α start at the values
    that w gives.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width of the fused vector, D_out, the common width.
        alpha: ``fixed``: w is from ``weights``; ``learned``: w is learned; ``per_sample``:
            w and u are learned.
        weights: Modality to weight > 0, for ``fixed`` only; None: all equal.

    Raises:
        ValueError: ``weights`` are given without ``fixed``, or there is not exactly one for
            each modality.
    """

    level: ClassVar[Literal["data"]] = "data"

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        alpha: Literal["learned", "fixed", "per_sample"] = "learned",
        weights: FixedWeights | None = None,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.projections = nn.ModuleDict(
            {name: nn.Linear(widths[name].pooled, width) for name in self.modalities}
        )
        shared: Alpha = "fixed" if alpha == "fixed" else "learned"
        self.alpha = ModalityWeights(self.modalities, alpha=shared, weights=weights)
        scored = self.modalities if alpha == "per_sample" and len(widths) > 1 else ()
        self.scores = nn.ParameterDict({name: nn.Parameter(torch.zeros(width)) for name in scored})

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        pooled = self.list_pooled(features, present)
        projected: Tensor = torch.stack(
            [self.projections[name](x) for name, x in zip(self.modalities, pooled, strict=True)],
            dim=1,
        )  # (B, M, D_out)
        # (B, D_out) @ (D_out,) → (B,)
        scores = [projected[:, m] @ u for m, u in enumerate(self.scores.values())]
        log_alpha: Tensor = self.alpha(
            stack_presence(present, self.modalities), torch.stack(scores, dim=1) if scores else None
        )  # (B, M)
        # Absent modalities have weight exp(-inf) = 0; their projections are finite, since x is 0.
        return (log_alpha.exp()[:, :, None] * projected).sum(1)
