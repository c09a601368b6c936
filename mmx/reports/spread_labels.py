"""Where names at the ends of lines stand, so that none covers another."""

from __future__ import annotations

import math
from collections.abc import Sequence

LABEL_GAP = 15
"""Least pixels between the names of two lines."""


def spread_labels(
    values: Sequence[float], domain: tuple[float, float], height: float, gap: float = LABEL_GAP
) -> list[float]:
    """Return where names of lines stand so that none covers another, near their values.

    Args:
        values: Where the lines end.
        domain: Ends of the axis.
        height: Pixels of the axis.
        gap: Least pixels between two names.
    """
    if not values:
        return []
    low, high = domain
    unit = (high - low) / height
    order = sorted(range(len(values)), key=lambda place: values[place])
    # Pushed up from below until none overlaps, then, if the last left the chart, down from above.
    found = [0.0] * len(values)
    least = -math.inf
    for place in order:
        found[place] = max(values[place], least)
        least = found[place] + gap * unit
    most = high
    for place in reversed(order):
        found[place] = min(found[place], most)
        most = found[place] - gap * unit
    return found
