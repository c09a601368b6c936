"""Each modality plus a gated projection of the others."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths, zero_absent
from mmx.modalities import Features


class Gated(Fusion):
    """Adds to each modality a projection of the others, through a gate that starts closed.

        p_i = P_i x_i + b_i,  z_i = p_i + tanh(g_i) ⊙ W_i [p_j]_{j≠i},  F = [z_1; …; z_M]

    Use it to add interactions to a model that starts as a concatenation, for example when a
    trained unimodal model gets a further modality.

    There is one gate g_i for each unit of each modality. All gates start at 0, so training
    starts from the concatenated projections, and the W_i learn once the gates have opened: in
    the first step their gradient is zero. The z_i of an absent modality is zero, and so is its
    contribution to the others. With a single modality F = p_1, without gate and W. F is linear
    in the features, as ``concat`` without ``hidden`` is.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width of each z_i; D_out is M times as wide.
    """

    shut_at_start: ClassVar[tuple[str, ...]] = ("mix.*",)

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = len(widths) * width
        self.projections = nn.ModuleDict(
            {name: nn.Linear(widths[name].pooled, width) for name in self.modalities}
        )
        several = self.modalities if len(widths) > 1 else ()
        others = (len(widths) - 1) * width
        # No bias: where all others are absent, exactly nothing is added.
        self.mix = nn.ModuleDict({name: nn.Linear(others, width, bias=False) for name in several})
        self.gates = nn.ParameterDict({name: nn.Parameter(torch.zeros(width)) for name in several})

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        projected = {
            name: zero_absent(self.projections[name](x), present[name])
            for name, x in zip(self.modalities, self.list_pooled(features, present), strict=True)
        }
        if len(projected) == 1:  # no gates and no mix, and nothing to concatenate below
            return projected[self.modalities[0]]
        fused = []
        for name, own in projected.items():
            others = torch.cat([x for other, x in projected.items() if other != name], dim=1)
            # tanh(0) = 0: the gate is shut at the start
            added = self.gates[name].tanh() * self.mix[name](others)
            # A row that lacks this modality keeps zeros here, or its part of F would hold the
            # others.
            fused.append(own + zero_absent(added, present[name]))
        return torch.cat(fused, dim=1)
