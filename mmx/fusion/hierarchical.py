"""Fusion in steps, each of which sees all the steps before it."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths, zero_absent
from mmx.modalities import Features


class Hierarchical(Fusion):
    """Fuses the modalities, then the fusions.

        F¹ = fuse(x_1, …, x_M),  F^k = fuse(F¹, …, F^{k-1}) for k = 2..depth,  F = F^depth
        fuse(a, b, …) = dropout(relu(W_k [a; b; …] + b_k))

    With ``levels``, step k also takes the pooled features of stage k of every encoder that
    exposes its stages, early details thus meeting before late ones; then a single modality
    is fused with itself over its depth. Absent modalities are zeros throughout.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: D_out, and the width of every step.
        depth: Number of steps.
        levels: Whether steps take the encoders' stages too.
        dropout: Part of each step's activations dropped in training.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1)] = 128,
        depth: Annotated[int, Field(ge=1)] = 3,
        levels: bool = True,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        # The modalities that step k + 1 takes a stage of.
        self.staged = [
            [name for name in self.modalities if levels and k < len(widths[name].levels)]
            for k in range(depth)
        ]
        self.steps = nn.ModuleList()
        for k, staged in enumerate(self.staged):
            before = k * width if k else sum(width.pooled for width in widths.values())
            stages = sum(widths[name].levels[k] for name in staged)
            linear = nn.Linear(before + stages, width)
            self.steps.append(nn.Sequential(linear, nn.ReLU(), nn.Dropout(dropout)))

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        fused: list[Tensor] = []
        for k, (step, staged) in enumerate(zip(self.steps, self.staged, strict=True)):
            before = fused or self.pooled(features, present)
            stages = [zero_absent(features[name].levels[k], present[name]) for name in staged]
            fused.append(step(torch.cat([*before, *stages], dim=1)))  # (B, D_out)
        return fused[-1]
