"""A sum of linear maps."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from mmx.fusion import Fusion
from mmx.fusion.base import Widths, zero_absent
from mmx.modalities import Features


class Summed(Fusion):
    """y = Σ_m W_m f_m over the modalities that are present."""

    def __init__(
        self, widths: dict[str, Widths], *, outputs: int, width: Annotated[int, Field(ge=1)] = 8
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.maps = nn.ModuleDict({n: nn.Linear(widths[n].pooled, width) for n in self.modalities})

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``."""
        pooled = zip(self.modalities, self.list_pooled(features, present), strict=True)
        return sum(zero_absent(self.maps[name](x), present[name]) for name, x in pooled)
