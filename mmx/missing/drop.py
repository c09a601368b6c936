"""Training on complete rows only."""

from __future__ import annotations

from torch import Tensor

from mmx.missing.base import Missing
from mmx.modalities import Features


class Drop(Missing):
    """Leaves rows that lack a modality out of training; in evaluation they pass unchanged.

    Use it as a baseline (complete-case analysis), or where a modality is rarely missing.

    Args:
        shapes: Modality to widths.
    """

    drops_rows = True

    def forward(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> tuple[dict[str, Features], dict[str, Tensor]]:
        """Return what was given; see :class:`~mmx.missing.base.Missing`."""
        return features, present
