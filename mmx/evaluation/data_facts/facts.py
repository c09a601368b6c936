"""The types of the facts about a task's data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

SplitCounts = Mapping[str, int]
"""``train``, ``val`` and ``test`` to a number of rows."""


@dataclass(frozen=True)
class Quantity:
    """How a number, such as the width of images, is spread over rows.

    Attributes:
        name: What is measured.
        unit: Its unit; "" for a number without one.
        rows: Number of rows measured.
        low, median, high: The smallest, the middle and the largest value.
    """

    name: str
    unit: str
    rows: int
    low: float
    median: float
    high: float

    @classmethod
    def of(cls, name: str, unit: str, values: npt.ArrayLike) -> Quantity:
        """Return the spread of values, of which there is at least one."""
        given = np.asarray(values, dtype=np.float64)
        low, high = float(given.min()), float(given.max())
        return cls(name, unit, given.size, low, float(np.median(given)), high)


@dataclass(frozen=True)
class Tally:
    """How many rows have which value, such as the mode of images.

    Attributes:
        name: What is counted.
        rows: Value to its number of rows, the most frequent first, ties in alphabetical order.
    """

    name: str
    rows: Mapping[str, int]

    @classmethod
    def of(cls, name: str, values: Iterable[str]) -> Tally:
        """Return how often each value occurs."""
        counts: dict[str, int] = {}
        for value in values:
            counts[value] = counts.get(value, 0) + 1
        return cls(name, dict(sorted(counts.items(), key=lambda each: (-each[1], each[0]))))


@dataclass(frozen=True)
class ModalityFacts:
    """What one modality holds.

    Attributes:
        kind: Name of the kind of modality, such as ``image``.
        missing: Split to the number of rows that lack it.
        missing_cells: Column to the missing cells of each split, where columns of a table make up
            the modality.
        quantities: Sizes and lengths.
        tallies: Modes, rates, scripts.
        unreadable: Why files could not be measured, one line each.
    """

    kind: str
    missing: SplitCounts
    missing_cells: Mapping[str, SplitCounts] = field(default_factory=dict)
    quantities: tuple[Quantity, ...] = ()
    tallies: tuple[Tally, ...] = ()
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class ColumnUse:
    """What a column of a table is read as.

    Attributes:
        name: The column.
        use: What it is read as, such as ``image`` or ``label``; "" if it is left out.
        holds: What its cells are: numbers, categories, files; or why it is left out.
    """

    name: str
    use: str
    holds: str


@dataclass(frozen=True)
class DataFacts:
    """What is in a task's data.

    Attributes:
        name: The task's name.
        kind: classes, multilabel or regression.
        fingerprint: Hex digest of contents, labels and splits.
        splits: Split to its number of rows.
        unused: Number of rows in no split.
        classes: Class or label to its rows in each split; empty for regression.
        numbers: Split to the spread of the numbers to predict, for regression only.
        modalities: Modality to its facts.
        columns: What the columns of a table are read as, if the data is a table.
        notes: The notes that a run on this data would log.
    """

    name: str
    kind: str
    fingerprint: str
    splits: SplitCounts
    unused: int
    classes: Mapping[str, SplitCounts]
    numbers: Mapping[str, Quantity]
    modalities: Mapping[str, ModalityFacts]
    columns: tuple[ColumnUse, ...]
    notes: tuple[str, ...]
