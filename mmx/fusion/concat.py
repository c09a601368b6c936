"""Concatenated features."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths
from mmx.modalities import Features


class Concat(Fusion):
    """Concatenates the pooled features, zeros for an absent modality.

        F = dropout([x_1; …; x_M]), or dropout(relu(W [x_1; …; x_M] + b)) with ``hidden``

    Use it as the plain reference for every other fusion: without ``hidden`` it has no
    parameters.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        hidden: Width of a layer over the concatenation; None: no layer.
        dropout: Fraction of the activations dropped in training.
    """

    width_option = "hidden"

    without_parameters = "fusion.hidden=null"

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        hidden: Annotated[int, Field(ge=1, le=65_536)] | None = None,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        total = sum(width.pooled for width in widths.values())
        layer = [] if hidden is None else [nn.Linear(total, hidden), nn.ReLU()]
        self.width = hidden or total
        self.layers = nn.Sequential(*layer, nn.Dropout(dropout))

    @property
    def layers_of_concatenation(self) -> nn.Module:
        """All that follows the concatenation."""
        return self.layers

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        fused: Tensor = self.layers(torch.cat(self.list_pooled(features, present), dim=1))
        return fused
