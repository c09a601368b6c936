"""Rows of a table to predict, in parts, so that a table of any size takes the same memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmx.modalities.base import Cells
from mmx.tasks.contents import Kind, Samples, Target, TaskData
from mmx.tasks.csv_format import CsvFormat
from mmx.tasks.open_table import OpenTable
from mmx.tasks.splits import SplitRows
from mmx.tasks.table_rows import RowSource, open_rows
from mmx.tasks.witnesses import find_witnesses

ReadTable = Callable[[OpenTable], tuple[Samples, Mapping[str, Sequence[str]]]]
"""Returns what a table holds, and the cells of the columns to carry over."""


@dataclass(frozen=True)
class RowsToPredict:
    """Rows that are predicted together.

    Attributes:
        data: Opened; its ``test`` split are these rows.
        rows: ``(N,)`` their places in the data.
        names: ``(N,)`` names of the rows: files, or row numbers counted from 1.
        kept: Column to ``(N,)`` cells, carried over.
    """

    data: TaskData
    rows: SplitRows
    names: Sequence[object]
    kept: Mapping[str, Sequence[str]] = field(default_factory=dict)


class TableParts:
    """The rows of a table in order, read once.

    Args:
        source: The rows.
        witnesses: Row number, from 1, to the row, of those without which a part would be read
            otherwise than the whole; see :mod:`mmx.tasks.witnesses`.
        read: Reads some rows, as a table of their own.
    """

    def __init__(
        self, source: RowSource[Any], witnesses: Mapping[int, Any], read: ReadTable
    ) -> None:
        self._source, self._witnesses, self._read = source, witnesses, read
        self._blocks: Iterator[Any] = source.iterate()
        self._waiting: Any = source.empty()
        self._done = 0
        self._ended = False

    @property
    def notes(self) -> tuple[str, ...]:
        """How the file is read, where that is unusual."""
        return self._source.notes

    @property
    def is_last(self) -> bool:
        """Whether the part that was read last goes to the end of the table."""
        return self._ended

    def read(self, size: int) -> RowsToPredict | None:
        """Return the next rows, about ``size``; they stay next until :meth:`pass_over`.

        None after the last.

        Raises:
            DataError: The table cannot be read, or has no row.
        """
        parts, count = [self._waiting], len(self._waiting)
        while count < size and not self._ended:
            block = next(self._blocks, None)
            if block is None:
                self._ended = True
            else:
                parts.append(block)
                count += len(block)
        self._waiting = self._source.join(parts)
        if self._done and not count:
            return None
        first = len(self._witnesses)
        numbers = [*self._witnesses, *range(self._done + 1, self._done + count + 1)]
        rows = self._source.join([*self._witnesses.values(), self._waiting])
        samples, kept = self._read(self._source.open(rows, numbers))
        places = np.arange(first, first + count, dtype=np.int64)
        return RowsToPredict(
            _make_data(samples, places),
            places,
            numbers[first:],
            {name: cells[first:] for name, cells in kept.items()},
        )

    def pass_over(self, count: int) -> None:
        """Leave the first of the rows that were read behind."""
        self._waiting = self._source.cut(self._waiting, count)
        self._done += count


def _make_data(samples: Samples, rows: SplitRows) -> TaskData:
    """Return rows without known targets as opened data."""
    values = samples.values
    kind: Kind = (
        "multilabel" if values.ndim == 2 else "classes" if values.dtype == int else "regression"
    )
    none = np.empty(0, dtype=np.int64)
    return TaskData(
        name="",
        columns=samples.columns,
        values=torch.from_numpy(values),
        target=Target(kind, samples.classes),
        splits={"train": none, "val": none, "test": rows},
        fingerprint="",  # nothing is stored of rows to predict
        digests={},
        notes=samples.notes,
    )


def open_table_parts(
    path: Path,
    options: CsvFormat,
    uses: Sequence[tuple[str, Cells]],
    kept: Sequence[str],
    missing: frozenset[str],
    read: ReadTable,
) -> TableParts | None:
    """Return the rows of a table file; None where it can only be read at once.

    Args:
        path: The file.
        options: How a CSV file is written, as far as that is known.
        uses: Columns that are read, and how their cells are.
        kept: Columns to carry over.
        missing: Texts that count as missing.
        read: Reads some rows.

    Raises:
        DataError: The file is damaged.
    """
    names = [name for name, _ in uses]
    source = open_rows(path, options, [*names, *kept])
    if source is None:
        return None
    by_column: dict[str, set[Cells]] = {name: set() for name in (*names, *kept)}
    for name, cells in uses:
        by_column[name].add(cells)
    return TableParts(source, find_witnesses(source, by_column, missing), read)
