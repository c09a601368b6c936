"""Deep Sets over the modalities of a row."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths, stack_presence
from mmx.modalities import Features


class Deepset(Fusion):
    """Embeds each modality, pools the embeddings in any order, and applies a layer.

        e_m = relu(P_m x_m + b_m),  s = pool_m e_m,  F = relu(W s + c)

    Use it when many rows lack a modality, or when there are many modalities: the number of
    parameters after the embeddings does not depend on M.

    The pool is taken over the modalities present. F and the model's head together are the
    MLP over the set. A single modality is a set of one: s = e_1.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width of the fused vector, D_out, and the width of the embeddings.
        pool: ``sum``; ``mean``, of a scale that does not depend on how many modalities a row
            has; or ``max`` of each unit.

    Reference: Zaheer et al. 2017, arXiv 1703.06114.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        pool: Literal["sum", "mean", "max"] = "mean",
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.pool = pool
        self.embeddings = nn.ModuleDict(
            {name: nn.Linear(widths[name].pooled, width) for name in self.modalities}
        )
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU())

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        pooled = self.list_pooled(features, present)
        embedded: Tensor = torch.stack(
            [self.embeddings[name](x) for name, x in zip(self.modalities, pooled, strict=True)],
            dim=1,
        ).relu()  # (B, M, D_out)
        here = stack_presence(present, self.modalities)[:, :, None]  # (B, M, 1)
        if self.pool == "max":  # finite, since every row has a modality
            set_vector = embedded.masked_fill(~here, -torch.inf).amax(1)
        else:
            set_vector = embedded.masked_fill(~here, 0.0).sum(1)
            if self.pool == "mean":
                # here.sum(1) is (B, 1), at least 1; an int64 divisor keeps the float type.
                set_vector = set_vector / here.sum(1)
        fused: Tensor = self.layers(set_vector)
        return fused
