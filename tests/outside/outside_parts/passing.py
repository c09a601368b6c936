"""Absent modalities stay absent."""

from __future__ import annotations

from torch import Tensor

from mmx.missing import Missing
from mmx.modalities import Features


class Passing(Missing):
    """Lets everything pass."""

    def forward(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> tuple[dict[str, Features], dict[str, Tensor]]:
        """Return what was given."""
        return features, present
