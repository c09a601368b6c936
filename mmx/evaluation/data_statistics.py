"""What a run keeps of its training rows, so that other rows can be compared with them.

Files are measured by their headers, and of many rows some, evenly spaced over all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mmx.evaluation.data_facts.measure import measure_column
from mmx.modalities import Modality, Spec
from mmx.tasks import TaskData

MOST_ROWS = 10_000
"""Rows that are measured at most."""
MOST_VALUES = 50
"""Values of a tally that are kept, the most frequent ones."""


@dataclass(frozen=True)
class NumberRange:
    """The numbers of a column, or a size in pixels or seconds.

    Attributes:
        count: How many there are.
        low, high: The smallest and the largest.
    """

    count: int
    low: float
    high: float


@dataclass(frozen=True)
class InputStatistics:
    """One input in some rows.

    Attributes:
        rows: Number of rows.
        missing: How many lack the input.
        missing_cells: Column to the number of its cells that are missing.
        unknown: How many words (or cells of categories) the vocabulary does not have.
        words: Of how many.
        numbers: Numeric column to its numbers.
        sizes: Size of files, such as ``width``, to its range.
        tallies: Property of files, such as ``sampling rate``, to value to number of rows.
    """

    rows: int
    missing: int
    missing_cells: dict[str, int] = field(default_factory=dict)
    unknown: int = 0
    words: int = 0
    numbers: dict[str, NumberRange] = field(default_factory=dict)
    sizes: dict[str, NumberRange] = field(default_factory=dict)
    tallies: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelStatistics:
    """The targets of some rows.

    Attributes:
        rows: Number of rows.
        counts: Class or label to its rows; empty for numbers.
        mean, std: Of the numbers to predict.
        low, high: The smallest and the largest of them.
    """

    rows: int
    counts: dict[str, int] = field(default_factory=dict)
    mean: float = 0.0
    std: float = 0.0
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class DataStatistics:
    """Rows of a task.

    Attributes:
        inputs: Input to its statistics.
        labels: Of the targets.
    """

    inputs: dict[str, InputStatistics]
    labels: LabelStatistics


@dataclass(frozen=True)
class TrainingStatistics:
    """What a run keeps of its data.

    Attributes:
        train: The training rows.
        val: The validation rows, which the vocabulary was not made of.
    """

    train: DataStatistics
    val: DataStatistics


def measure_statistics(
    data: TaskData,
    rows: npt.NDArray[np.int64],
    modalities: Mapping[str, Modality[Any, Any]],
    specs: Mapping[str, Spec],
) -> DataStatistics:
    """Return the statistics of some rows.

    Args:
        data: The opened data.
        rows: Row numbers, at least one.
        modalities: Input to what reads it.
        specs: Input to what was learned from the training rows.

    Raises:
        DataError: A cell cannot be read.
    """
    step = -(-len(rows) // MOST_ROWS)
    some = rows[::step]
    inputs = {
        name: _measure_input(data, some, name, modality, specs[name])
        for name, modality in modalities.items()
    }
    return DataStatistics(inputs, _measure_labels(data, rows))


def _measure_input(
    data: TaskData,
    rows: npt.NDArray[np.int64],
    name: str,
    modality: Modality[Any, Any],
    spec: Spec,
) -> InputStatistics:
    column = data.columns[name]
    measures = measure_column(column, rows.tolist(), modality)
    unknown, words = modality.count_unknown(column, rows, spec) or (0, 0)
    numbers = modality.read_numbers(column, rows, spec)
    return InputStatistics(
        rows=len(rows),
        missing=int((~column.present[rows]).sum()),
        missing_cells={
            each: sum(cells[row] is None for row in rows) for each, cells in column.columns.items()
        },
        unknown=unknown,
        words=words,
        numbers={each: _span(found) for each, found in numbers.items()},
        sizes={
            each.name: NumberRange(each.rows, each.low, each.high) for each in measures.quantities
        },
        tallies={
            each.name: dict(list(each.rows.items())[:MOST_VALUES]) for each in measures.tallies
        },
    )


def _span(numbers: npt.NDArray[np.float64]) -> NumberRange:
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return NumberRange(0, 0.0, 0.0)
    return NumberRange(len(known), float(known.min()), float(known.max()))


def _measure_labels(data: TaskData, rows: npt.NDArray[np.int64]) -> LabelStatistics:
    values = data.values.numpy()[rows]
    if data.target.kind == "regression":
        return LabelStatistics(
            len(rows),
            mean=float(values.mean()),
            std=float(values.std()),
            low=float(values.min()),
            high=float(values.max()),
        )
    has = values[:, None] == np.arange(len(data.target.classes))
    marks = has if data.target.kind == "classes" else values > 0
    counts: Sequence[int] = marks.sum(0).tolist()
    return LabelStatistics(len(rows), dict(zip(data.target.classes, counts, strict=True)))
