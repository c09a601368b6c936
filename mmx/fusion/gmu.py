"""The gated multimodal unit."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths, stack_presence
from mmx.modalities import Features


class Gmu(Fusion):
    """Weighs the modalities in each unit by gates computed from all of them.

        h_m = tanh(W_m x_m + b_m),  z = gate(V [x_1; …; x_M] + c),  F = Σ_m z_m ⊙ h_m

    Use it when different parts of the representation should rely on different modalities;
    ``attention`` has one weight for all units.

    V gives M·D_out gates. A softmax is taken over the modalities present, separately for each
    unit of D_out; a sigmoid gates each modality independently. An absent modality is zero in
    the concatenation and its gate is closed. With a single modality a softmax is always 1, so
    there is no V.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width of the fused vector, D_out.
        gate: Whether the modalities compete for each unit (``softmax``), or each has a gate of
            its own (``sigmoid``).

    Reference: Arevalo et al. 2017, arXiv 1702.01992.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        gate: Literal["softmax", "sigmoid"] = "softmax",
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.gate = gate
        self.hidden = nn.ModuleDict(
            {name: nn.Linear(widths[name].pooled, width) for name in self.modalities}
        )
        modalities, total = len(widths), sum(each.pooled for each in widths.values())
        needless = gate == "softmax" and modalities == 1  # a parameter without a gradient
        self.gates = None if needless else nn.Linear(total, modalities * width)

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        pooled = self.list_pooled(features, present)
        hidden: Tensor = torch.stack(
            [self.hidden[name](x) for name, x in zip(self.modalities, pooled, strict=True)], dim=1
        ).tanh()  # (B, M, D_out)
        if self.gates is None:
            return hidden[:, 0]
        absent = ~stack_presence(present, self.modalities)[:, :, None]  # (B, M, 1)
        gates: Tensor = self.gates(torch.cat(pooled, dim=1)).view(hidden.shape)  # (B, M, D_out)
        gates = gates.masked_fill(absent, -torch.inf)  # 0 after softmax and after sigmoid
        gates = gates.softmax(1) if self.gate == "softmax" else gates.sigmoid()
        return (gates * hidden).sum(1)
