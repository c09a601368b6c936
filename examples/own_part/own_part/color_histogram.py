"""Images by the colours that they have, wherever these are."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.encoders import Encoder
from mmx.modalities import Features
from mmx.modalities.image import ImageSpec


class ColorHistogram(Encoder):
    """Soft histogram of each channel, and one layer over it.

        h_cb = mean over pixels p of softmax_b(−(x_pc − μ_b)² / σ²),  f = relu(W h + b)

    Args:
        spec: What was learned of the training images.
        bins: Bins of each channel; their centres μ lie evenly between −1 and 1, σ apart.
        width: D of the features.
    """

    def __init__(
        self,
        spec: ImageSpec,
        *,
        bins: Annotated[int, Field(ge=2, le=256)] = 8,
        width: Annotated[int, Field(ge=1, le=65_536)] = 32,
    ) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("centers", torch.linspace(-1, 1, bins), persistent=False)
        self.layer = nn.Linear(3 * bins, width)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Return ``(B, 1, D)`` tokens of ``(B, 3, H, W)`` images."""
        spacing = self.centers[1] - self.centers[0]
        distance = (x.flatten(2)[..., None] - self.centers) / spacing  # (B, 3, H·W, bins)
        histogram = (-distance.square()).softmax(dim=3).mean(dim=2)  # (B, 3, bins)
        pooled = self.layer(histogram.flatten(1)).relu()
        mask = torch.ones(len(x), 1, dtype=torch.bool, device=x.device)
        return Features(pooled[:, None], mask, pooled)
