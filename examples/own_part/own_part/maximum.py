"""The largest of each feature over the modalities."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion import Fusion, Widths, stack_presence
from mmx.modalities import Features


class Maximum(Fusion):
    """Projects each modality to one width, and takes the maximum over those that are present.

        F_d = max_m (W_m x_m + b_m)_d

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: D_out.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1, le=65_536)] = 64,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.maps = nn.ModuleDict(
            {name: nn.Linear(widths[name].pooled, width) for name in self.modalities}
        )

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``."""
        pooled = zip(self.modalities, self.list_pooled(features, present), strict=True)
        projected = torch.stack([self.maps[name](x) for name, x in pooled], dim=1)  # (B, M, D_out)
        absent = ~stack_presence(present, self.modalities)[:, :, None]
        return projected.masked_fill(absent, -torch.inf).amax(dim=1)
