"""Pixels through one layer."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.encoders import Encoder
from mmx.encoders.published import Published
from mmx.modalities import Features
from mmx.modalities.image import ImageSpec


class Flat(Encoder):
    """f = relu(W x + b) of all pixels, normalised if wished; ``weights`` is a file with W and b."""

    def __init__(
        self,
        spec: ImageSpec,
        *,
        width: Annotated[int, Field(ge=1)] = 16,
        weights: str | None = None,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.width = width
        self.layer = nn.Linear(3 * spec.height * spec.width, width)
        if norm:
            self.norm = nn.LayerNorm(width)

    @classmethod
    def find_published(cls, **options: Any) -> Published | None:
        """Return the weights in the file."""
        return Published.of_file(options.get("weights"))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Return ``(B, 1, D)`` tokens of ``(B, 3, H, W)``."""
        pooled = self.layer(x.flatten(1)).relu()
        if hasattr(self, "norm"):
            pooled = self.norm(pooled)
        mask = torch.ones(len(x), 1, dtype=torch.bool, device=x.device)
        return Features(pooled[:, None], mask, pooled)
