"""A learned linear projection."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from mmx.mapping.base import Mapping
from mmx.mapping.projection import map_each
from mmx.modalities import Features


class Linear(Mapping):
    """Projects every modality to one width, by weights that train with the model.

        y_m = W_m x_m + b_m

    Use it to give every modality the same width without fitting anything before training.

    Args:
        widths: Modality to D_m.
        width: D', the width of the common space.
    """

    def __init__(
        self, widths: dict[str, int], *, width: Annotated[int, Field(ge=1, le=65_536)] = 64
    ) -> None:
        super().__init__(widths)
        self.widths = dict.fromkeys(self.modalities, width)
        self.maps = nn.ModuleDict(
            {name: nn.Linear(widths[name], width) for name in self.modalities}
        )

    def forward(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> dict[str, Features]:
        """Map pooled vectors and tokens; see :class:`~mmx.mapping.base.Mapping`."""
        return map_each(self.maps, features, present)
