"""Checks of the result of a task's ``read``: lengths, splits and labels.

Row numbers in errors count from 0, as in the task's own arrays.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from mmx.errors import DataError, closest
from mmx.tasks.contents import Kind, Samples
from mmx.tasks.splits import SplitRows

SPLIT_ORDER = ("train", "val", "test")
ROWS_SHOWN = 5
"""Number of rows that a message lists."""


def check_samples(task: str, kind: Kind, modalities: Collection[str], samples: Samples) -> Samples:
    """Return checked samples, with labels and row numbers in their canonical dtypes.

    Args:
        task: Its name, for messages.
        kind: The kind of its target.
        modalities: The modalities that the task states.
        samples: The result of its ``read``.

    Raises:
        DataError: A column is absent or has another length than the labels; a split contains
            rows that do not exist, are repeated or are in another split; or a used row has a
            label that does not fit the kind.
    """
    _check_columns(task, modalities, samples)
    count = len(samples.values)
    splits = {name: _check_rows(task, name, rows, count) for name, rows in samples.splits.items()}
    for one, other in combinations(splits, 2):
        if len(both := np.intersect1d(splits[one], splits[other])):
            raise DataError(
                f"{task}: splits {one} and {other} share {format_row_numbers(both)}",
                tip="each row of Samples.splits must be in one split only",
            )
    if len(set(samples.classes)) < len(samples.classes):
        twice = next(name for name in samples.classes if samples.classes.count(name) > 1)
        raise DataError(f"{task}: Samples.classes names '{twice}' twice")
    used = np.concatenate([np.empty(0, dtype=np.int64), *splits.values()])
    labels = _Labels(task, np.asarray(samples.values), used, len(samples.classes))
    # The methods of _Labels have the names of the kinds.
    values = getattr(labels, kind)("train" in splits)
    return replace(samples, values=values, splits=splits)


def _check_columns(task: str, modalities: Collection[str], samples: Samples) -> None:
    """Refuse absent columns, and columns with another number of rows than the labels."""
    for name in modalities:
        if name not in samples.columns:
            raise DataError(
                f"{task}: it states the modality {name}, but read no such column; "
                f"it read {', '.join(samples.columns) or 'none'}"
            )
    for name, column in samples.columns.items():
        if len(column) != len(samples.values):
            raise DataError(
                f"{task}: the {name} column has {len(column)} rows, but there are "
                f"{len(samples.values)} labels",
                tip="Samples.values has one label for each row of every column",
            )


def _check_rows(task: str, name: str, given: Any, count: int) -> SplitRows:
    """Return a split's row numbers, int64.

    Raises:
        DataError: They are not row numbers, or exceed ``count``, or some are repeated.
    """
    if name not in SPLIT_ORDER:
        near = closest(name, SPLIT_ORDER)
        raise DataError(
            f"{task}: there is no split '{name}'; accepted: {', '.join(SPLIT_ORDER)}"
            + (f"; closest: {near}" if near else "")
        )
    rows = np.asarray(given)
    if not rows.size:
        return np.empty(0, dtype=np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise DataError(
            f"{task}: split {name} is of dtype {rows.dtype} and shape {rows.shape}; "
            "row numbers are whole numbers in one dimension",
            tip="np.flatnonzero(mask) turns a mask into row numbers"
            if rows.dtype.kind == "b"
            else None,
        )
    rows = rows.astype(np.int64)
    if len(wild := rows[(rows < 0) | (rows >= count)]):
        raise DataError(
            f"{task}: split {name} has {format_row_numbers(wild)}; there are {count} rows, "
            f"0 to {count - 1}"
        )
    found, times = np.unique(rows, return_counts=True)
    if len(twice := found[times > 1]):
        raise DataError(f"{task}: split {name} has {format_row_numbers(twice)} more than once")
    return rows


class _Labels:
    """The labels of a task, checked and converted; one method for each kind of target.

    Args:
        task: Its name, for messages.
        values: Labels of all N rows.
        used: Row numbers of the used rows; all others may have any label.
        count: Number of classes or labels.
    """

    def __init__(self, task: str, values: npt.NDArray[Any], used: SplitRows, count: int) -> None:
        self.task, self.values, self.used, self.count = task, values, used, count

    def classes(self, known: bool) -> npt.NDArray[np.int64]:
        """Return ``(N,)`` int64, 0 where a row is not in use.

        Args:
            known: Whether the labels are known; rows to predict have none to check.
        """
        given = self._check_shape(1)
        found = np.zeros(len(given), dtype=np.int64)
        own = given[self.used]
        if own.dtype.kind == "f":
            # NaN is not equal to itself, so it is refused here too.
            self._refuse(own != np.floor(own), "is not an index of a class")
        if known:
            last = f"there are {self.count} classes, 0 to {self.count - 1}"
            self._refuse((own < 0) | (own >= self.count), f"is not a class: {last}")
        found[self.used] = own.astype(np.int64)
        return found

    def multilabel(self, known: bool) -> npt.NDArray[np.float32]:
        """Return ``(N, C)`` float32 of 0 and 1; see :meth:`classes`."""
        given = self._check_shape(2)
        if given.shape[1] != self.count:
            raise DataError(
                f"{self.task}: the labels have {given.shape[1]} columns, and there are "
                f"{self.count} names in Samples.classes"
            )
        found = np.zeros(given.shape, dtype=np.float32)
        own = given[self.used]
        self._refuse((own != 0) & (own != 1), "is neither 0 nor 1")
        found[self.used] = own.astype(np.float32)
        return found

    def regression(self, known: bool) -> npt.NDArray[np.float64]:
        """Return ``(N,)`` float64; see :meth:`classes`."""
        given = self._check_shape(1)
        found = np.zeros(len(given), dtype=np.float64)
        found[self.used] = given[self.used].astype(np.float64)
        self._refuse(~np.isfinite(found[self.used]), "is not a finite number")
        return found

    def _check_shape(self, dimensions: int) -> npt.NDArray[Any]:
        """Return the values after a check that they are numbers in ``dimensions`` dimensions."""
        shape = "(rows,)" if dimensions == 1 else "(rows, labels)"
        if self.values.ndim != dimensions or self.values.dtype.kind not in "iufb":
            raise DataError(
                f"{self.task}: Samples.values is of dtype {self.values.dtype} and shape "
                f"{self.values.shape}; it must hold numbers, of shape {shape}"
            )
        return self.values

    def _refuse(self, wrong: npt.NDArray[np.bool_], reason: str) -> None:
        """Raise DataError for the first used row with a wrong label."""
        if not wrong.any():
            return
        places = np.argwhere(wrong)  # (n, dimensions)
        first = places[self.used[places[:, 0]].argmin()]  # splits are not in the order of rows
        row = int(self.used[first[0]])
        place = (row, *first[1:])
        label = self.values[place]
        count = len(np.unique(places[:, 0]))
        raise DataError(
            f"{self.task}: row {row} (from 0) has the label {label}, which {reason}; "
            f"{count} of {len(wrong)} rows have such a label"
        )


def format_row_numbers(rows: npt.NDArray[np.int64]) -> str:
    """Return row numbers for a message, the first few of them."""
    shown = ", ".join(map(str, rows[:ROWS_SHOWN].tolist()))
    more = f" and {len(rows) - ROWS_SHOWN} more" if len(rows) > ROWS_SHOWN else ""
    return f"row {shown}" if len(rows) == 1 else f"rows {shown}{more}"
