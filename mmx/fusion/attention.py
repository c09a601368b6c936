"""Attention over modalities."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths, stack_presence
from mmx.modalities import Features


class Attention(Fusion):
    """Sums the projected modalities, with weights computed from all of them.

        F = Σ_m a_m (P_m x_m + b_m),  a = softmax(W [x_1; …; x_M] + c)

    Use it when the modalities differ in reliability from row to row: the weights a show which
    of them the model relied on.

    There is one weight for each modality and row. The softmax is taken over the modalities
    present; an absent one is zero in the concatenation. A single modality has weight 1 and
    no W.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width of the fused vector, D_out.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.projections = nn.ModuleDict(
            {name: nn.Linear(widths[name].pooled, width) for name in self.modalities}
        )
        # Scores read all modalities at once, so a weight can depend on what the others say.
        total = sum(each.pooled for each in widths.values())
        self.scores = nn.Linear(total, len(widths)) if len(widths) > 1 else None

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        pooled = self.list_pooled(features, present)
        projected: Tensor = torch.stack(
            [self.projections[name](x) for name, x in zip(self.modalities, pooled, strict=True)],
            dim=1,
        )  # (B, M, D_out)
        if self.scores is None:
            return projected[:, 0]
        absent = ~stack_presence(present, self.modalities)  # (B, M)
        # exp(-inf) = 0: the softmax shares the weight among the modalities present.
        scores: Tensor = self.scores(torch.cat(pooled, dim=1)).masked_fill(absent, -torch.inf)
        return (scores.softmax(1)[:, :, None] * projected).sum(1)
