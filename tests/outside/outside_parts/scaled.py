"""Features cut to their first dimensions."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from mmx.mapping import Mapping
from mmx.modalities import Features


class Scaled(Mapping):
    """y_m = a · x_m."""

    def __init__(self, widths: dict[str, int], *, factor: float = 0.5) -> None:
        super().__init__(widths)
        self.widths = dict(widths)
        self.factor = factor

    def forward(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> dict[str, Features]:
        """Return tokens and pooled vectors scaled."""
        return {
            name: replace(each, tokens=self.factor * each.tokens, pooled=self.factor * each.pooled)
            for name, each in features.items()
        }
