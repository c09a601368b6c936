"""The rows of a table file in order, without all of them in memory at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa

from mmx.errors import DataError
from mmx.table_suffixes import BINARY_SUFFIXES, JSON_SUFFIXES, TEXT_SUFFIXES, find_suffix
from mmx.tasks.arrow_columns import has_field, iterate_arrow, open_arrow, read_column, wrap_table
from mmx.tasks.csv_format import CsvFormat
from mmx.tasks.csv_records import CsvRecord
from mmx.tasks.csv_rows import CsvTable, check_csv
from mmx.tasks.json_rows import find_path, follow_path, stream_json
from mmx.tasks.open_table import OpenTable
from mmx.tasks.row_names import RowNames

BLOCK = 1024
"""Rows that are read at once."""
SomeRows = TypeVar("SomeRows")
Keyed = tuple[dict[str, Any], int]
"""An object, and the line on which it is."""


class RowSource(ABC, Generic[SomeRows]):
    """A table file with rows that can be read in order, as often as needed.

    Attributes:
        path: The file.
        notes: Anything unusual about how it is read.
    """

    path: Path
    notes: tuple[str, ...] = ()

    @abstractmethod
    def iterate(self) -> Iterator[SomeRows]:
        """Yield all rows, some at once."""

    @abstractmethod
    def join(self, parts: Sequence[SomeRows]) -> SomeRows:
        """Return the rows of several parts, of which there is at least one, as one."""

    @abstractmethod
    def open(self, rows: SomeRows, numbers: Sequence[int]) -> OpenTable:
        """Return some rows as a table.

        Args:
            rows: The rows.
            numbers: The number of each in the file, from 1.
        """

    @abstractmethod
    def empty(self) -> SomeRows:
        """Return no row."""

    def cut(self, rows: Any, start: int, stop: int | None = None) -> Any:
        """Return rows from ``start`` to before ``stop``."""
        return rows[start:stop]


class CsvSource(RowSource[list[CsvRecord]]):
    """The rows of a CSV or TSV file, which was checked as a whole."""

    def __init__(self, path: Path, options: CsvFormat) -> None:
        self.path, self._file = path, check_csv(path, options)
        self.notes = self._file.notes

    def iterate(self) -> Iterator[list[CsvRecord]]:
        """Yield all rows; see :class:`RowSource`."""
        yield from _in_blocks(self._file.rows())

    def join(self, parts: Sequence[list[CsvRecord]]) -> list[CsvRecord]:
        """Return the rows of several parts as one."""
        return [row for part in parts for row in part]

    def open(self, rows: list[CsvRecord], numbers: Sequence[int]) -> OpenTable:
        """Return some rows as a table; see :class:`RowSource`."""
        lines = [row.line for row in rows]
        names = self._file.found.names
        table = CsvTable(self.path, names, [row.cells for row in rows], lines)
        return OpenTable(
            self.path,
            names,
            table.read,
            has=lambda name: name in names,
            count=len(rows),
            row_names=RowNames(lines=() if self._file.found.regular else lines, numbers=numbers),
            folders=((0, self.path.parent),),
        )

    def empty(self) -> list[CsvRecord]:
        """Return no row."""
        return []


class JsonSource(RowSource[list[Keyed]]):
    """The rows of a file with one JSON object on each line."""

    def __init__(
        self, path: Path, rows: Callable[[], Iterator[Keyed]], notes: tuple[str, ...]
    ) -> None:
        self.path, self.notes, self._rows = path, notes, rows
        names: dict[str, None] = {}
        count = last = first = 0
        for row, line in rows():
            names |= dict.fromkeys(row)
            first, last, count = first or line, line, count + 1
        self.names = list(names)
        self._regular = first == 1 and last == count

    def iterate(self) -> Iterator[list[Keyed]]:
        """Yield all rows; see :class:`RowSource`."""
        yield from _in_blocks(self._rows())

    def join(self, parts: Sequence[list[Keyed]]) -> list[Keyed]:
        """Return the rows of several parts as one."""
        return [row for part in parts for row in part]

    def open(self, rows: list[Keyed], numbers: Sequence[int]) -> OpenTable:
        """Return some rows as a table; see :class:`RowSource`."""
        objects = [row for row, _ in rows]

        def read(name: str) -> list[Any]:
            along = find_path(objects, self.names, name) or [name]
            return [follow_path(row, along) for row in objects]

        lines = () if self._regular else [line for _, line in rows]
        return OpenTable(
            self.path,
            self.names,
            read,
            has=lambda name: find_path(objects, self.names, name) is not None,
            count=len(rows),
            row_names=RowNames(lines=lines, numbers=numbers),
            folders=((0, self.path.parent),),
        )

    def empty(self) -> list[Keyed]:
        """Return no row."""
        return []


class ArrowSource(RowSource[pa.Table]):
    """The rows of a Parquet or Arrow file, with the columns that are needed."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path, self._wanted = path, names
        file = open_arrow(path)
        self._schema, self._names, self._types = file.schema, file.names, file.types

    @property
    def has_times(self) -> bool:
        """Whether some column holds times."""
        return any("timestamp" in each for each in self._types.values())

    def iterate(self) -> Iterator[pa.Table]:
        """Yield all rows; see :class:`RowSource`."""
        try:
            yield from iterate_arrow(self.path, self._wanted, BLOCK)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"cannot read table {self.path}: {error}") from error

    def join(self, parts: Sequence[pa.Table]) -> pa.Table:
        """Return the rows of several parts as one."""
        return pa.concat_tables(parts)

    def open(self, rows: pa.Table, numbers: Sequence[int]) -> OpenTable:
        """Return some rows as a table; see :class:`RowSource`."""
        file = wrap_table(self.path, rows, self._schema)
        return OpenTable(
            self.path,
            self._names,
            lambda name: read_column(file, name),
            has=lambda name: has_field(self._schema, name),
            count=rows.num_rows,
            row_names=RowNames(numbers=numbers),
            types=self._types,
            folders=((0, self.path.parent),),
        )

    def empty(self) -> pa.Table:
        """Return no row."""
        first = next(iterate_arrow(self.path, self._wanted, BLOCK), None)
        return self._schema.empty_table() if first is None else first.slice(0, 0)


def open_rows(path: Path, options: CsvFormat, names: Sequence[str]) -> RowSource[Any] | None:
    """Return the rows of a table file; None for a file that can only be read at once.

    That is a JSON file with a list of objects, and a tar.

    Args:
        path: The file.
        options: How a CSV file is written, as far as that is known.
        names: Columns that are read.

    Raises:
        DataError: The file is damaged.
    """
    suffix = find_suffix(path)
    try:
        if suffix in TEXT_SUFFIXES:
            return CsvSource(path, options)
        if suffix in BINARY_SUFFIXES:
            return ArrowSource(path, names)
        if suffix in JSON_SUFFIXES:
            found = stream_json(path, options.encoding)
            return None if found is None else JsonSource(path, *found)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read table {path}: {error}") from error
    return None


Row = TypeVar("Row")


def _in_blocks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while block := list(islice(rows, BLOCK)):
        yield block
