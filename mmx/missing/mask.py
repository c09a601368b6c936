"""Absent modalities stay absent."""

from __future__ import annotations

from torch import Tensor

from mmx.missing.base import Missing
from mmx.modalities import Features


class Mask(Missing):
    """Changes nothing: a fusion leaves an absent modality out. This is the default.

    Args:
        shapes: Modality to widths.
    """

    def forward(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> tuple[dict[str, Features], dict[str, Tensor]]:
        """Return what was given; see :class:`~mmx.missing.base.Missing`."""
        return features, present
