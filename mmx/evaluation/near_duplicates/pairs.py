"""Pairs of rows that are alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class RowPair:
    """Two rows that are alike in a modality.

    Attributes:
        row, other: Their numbers, from 0.
        distance: How different they are, 0 for equal content; the unit is that of the modality.
    """

    row: int
    other: int
    distance: float


@dataclass(frozen=True)
class PairComparison:
    """What comparing the rows of a modality gave.

    Attributes:
        pairs: In the order of their rows, those of one row by distance.
        unreadable: Row to the reason why it cannot be compared.
    """

    pairs: tuple[RowPair, ...]
    unreadable: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        rows: npt.NDArray[np.int64],
        others: npt.NDArray[np.int64],
        distances: npt.NDArray[np.float64],
        unreadable: Mapping[int, str] | None = None,
    ) -> PairComparison:
        """Return all pairs, sorted by rows and then by distance."""
        order = np.lexsort((others, distances, rows))
        pairs = tuple(
            RowPair(int(rows[place]), int(others[place]), float(distances[place]))
            for place in order
        )
        return cls(pairs, unreadable or {})
