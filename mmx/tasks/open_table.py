"""Table files that are read column by column: one, or several as one."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmx.errors import DataError
from mmx.table_suffixes import (
    BINARY_SUFFIXES,
    COMPRESSED,
    JSON_SUFFIXES,
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    find_suffix,
)
from mmx.tasks.arrow_columns import has_field, open_arrow, read_column
from mmx.tasks.cells import ColumnCells, as_text
from mmx.tasks.csv_format import CsvFormat
from mmx.tasks.csv_rows import open_csv
from mmx.tasks.json_rows import collect_keys, find_path, follow_path, open_json
from mmx.tasks.row_names import RowNames, find_irregular_lines
from mmx.tasks.tar_samples import read_tar_samples


@dataclass(frozen=True)
class OpenTable:
    """A table that is read column by column.

    Attributes:
        path: The file; of several files the first.
        names: Names of its columns.
        column: Reads one column.
        has: Returns whether there is a column of a name, also one that leads into an object.
        count: Number of its rows.
        row_names: What its rows are called in messages.
        types: Type of each column in words, if the file states it.
        notes: Anything unusual about how it was read.
        folders: Folder of each row's file, which its paths are relative to: a first row and the
            folder from there on, in order.
        splits: Split of each row, where the files say so.
    """

    path: Path
    names: list[str]
    column: Callable[[str], ColumnCells]
    has: Callable[[str], bool]
    count: int
    row_names: RowNames = field(default_factory=RowNames)
    types: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    folders: tuple[tuple[int, Path], ...] = ()
    splits: list[str | None] | None = None

    @property
    def is_undivided(self) -> bool:
        """Whether it is one column of text, since its cells may be separated otherwise."""
        return len(self.names) == 1 and find_suffix(self.path) in TEXT_SUFFIXES

    def find(self, name: str) -> str | None:
        """Return the column called ``name``, ignoring spaces around the names, or None."""
        if name in self.names:
            return name
        # Only if one column fits: of two, the user has to say which.
        same = [known for known in self.names if known.strip() == name.strip()]
        if len(same) == 1:
            return same[0]
        return name if self.has(name) else None

    def read(self, name: str) -> ColumnCells:
        """Return the cells of one column.

        Raises:
            DataError: Two columns have that name, or its type cannot be read.
        """
        if self.names.count(name) > 1:
            raise DataError(
                f"{self.path} has more than one column '{name}'", tip="rename one of them"
            )
        try:
            return self.column(name)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"cannot read table {self.path}: {error}") from error

    def to_texts(self, name: str, cells: ColumnCells, missing: frozenset[str]) -> list[str | None]:
        """Return cells as text, None where they are missing.

        Raises:
            DataError: A cell has no representation as text; the message names column and type.
        """
        texts = []
        for row, cell in enumerate(cells):
            try:
                texts.append(as_text(cell, missing))
            except TypeError as error:
                raise DataError(
                    f"{self.path}: {self.describe(name)} holds {error} in {self.row_names(row)}, "
                    "which is not text",
                    tip=f"name a key of it: {name}.{next(iter(cell), '<key>')}"
                    if isinstance(cell, dict)
                    else "columns.tabular takes lists of numbers, columns.image and columns.audio "
                    "take the bytes of files",
                ) from error
        return texts

    def describe(self, name: str) -> str:
        """Return a column's name for a message, with its type if the file states it."""
        kind = f" of type {self.types[name]}" if name in self.types else ""
        return f"column '{name}'{kind}"


def open_table(path: Path, options: CsvFormat | None = None) -> OpenTable:
    """Return a table file that is ready to be read column by column.

    CSV cells and JSON strings are not interpreted, so "007" keeps its zeros and "NA" stays text.

    Args:
        path: The file.
        options: How a CSV file is written, as far as that is known.

    Raises:
        DataError: The file has another format, or is damaged.
    """
    options = options or CsvFormat()
    suffix = find_suffix(path)
    if suffix not in TABLE_SUFFIXES:
        raise DataError(
            f"cannot read a table from {path}; accepted: {', '.join(TABLE_SUFFIXES)}",
            tip=_advise_suffix(path),
        )
    try:
        if suffix in BINARY_SUFFIXES:
            return _open_binary(path)
        if suffix in JSON_SUFFIXES:
            rows, lines, notes = open_json(path, options.encoding)
            return _open_rows(path, rows, lines, notes)
        if suffix == ".tar":
            return _open_rows(path, read_tar_samples(path), [], ())
        table = open_csv(path, options)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read table {path}: {error}") from error
    irregular = find_irregular_lines(table.lines, 2)
    return OpenTable(
        path,
        table.names,
        table.read,
        has=lambda name: name in table.names,
        count=len(table.rows),
        row_names=RowNames(lines=irregular),
        notes=table.notes,
        folders=((0, path.parent),),
    )


def _advise_suffix(path: Path) -> str:
    """Return what to do with a file that has another suffix."""
    suffix = path.suffix.lower()
    if suffix in (".xlsx", ".xls", ".ods"):
        return "save it as CSV"
    if suffix in COMPRESSED:
        return f"unpack it, or give a ZIP of one table that table's name: {path.stem}.csv{suffix}"
    old = shlex.quote(str(path))
    return f"mv {old} {shlex.quote(str(path.with_suffix('.csv')))}   (if it is CSV)"


def _open_binary(path: Path) -> OpenTable:
    file = open_arrow(path)
    return OpenTable(
        path,
        file.names,
        lambda name: read_column(file, name),
        has=lambda name: has_field(file.schema, name),
        count=file.count,
        types=file.types,
        folders=((0, path.parent),),
    )


def _open_rows(
    path: Path, rows: list[dict[str, Any]], lines: list[int], notes: tuple[str, ...]
) -> OpenTable:
    names = collect_keys(rows)

    def read(name: str) -> ColumnCells:
        along = find_path(rows, names, name) or [name]
        return [follow_path(row, along) for row in rows]

    return OpenTable(
        path,
        names,
        read,
        has=lambda name: find_path(rows, names, name) is not None,
        count=len(rows),
        row_names=RowNames(lines=find_irregular_lines(lines, 1)),
        notes=notes,
        folders=((0, path.parent),),
    )


def join_tables(
    tables: Sequence[OpenTable], splits: Sequence[str | None], notes: Iterable[str] = ()
) -> OpenTable:
    """Return several tables as one, one after another.

    A column must be in all of them where it is read.

    Args:
        tables: The tables.
        splits: The split of each, None where its place does not say.
        notes: Anything unusual about how they were found.
    """
    if len(tables) == 1 and not any(splits):
        return tables[0]
    starts: list[int] = []
    count = 0
    for table in tables:
        starts.append(count)
        count += table.count
    return OpenTable(
        tables[0].path,
        _join_names(tables),
        lambda name: _read_joined(tables, name),
        has=lambda name: any(table.find(name) is not None for table in tables),
        count=count,
        row_names=_join_row_names(tables, starts),
        types=tables[0].types,
        notes=tuple(dict.fromkeys(chain(*(table.notes for table in tables), notes))),
        folders=tuple(
            (start, table.path.parent) for start, table in zip(starts, tables, strict=True)
        ),
        splits=_repeat_splits(tables, splits) if any(splits) else None,
    )


def _repeat_splits(tables: Sequence[OpenTable], splits: Sequence[str | None]) -> list[str | None]:
    """Return the split of each row, given that of each table."""
    return [split for table, split in zip(tables, splits, strict=True) for _ in range(table.count)]


def _join_names(tables: Sequence[OpenTable]) -> list[str]:
    """Return the names of the columns that any of the tables has, in their order."""
    first = tables[0].names
    if all(table.names == first for table in tables):
        return list(first)  # with those that it has twice
    return list(dict.fromkeys(name for table in tables for name in table.names))


def _read_joined(tables: Sequence[OpenTable], name: str) -> ColumnCells:
    """Return the cells of a column of several tables.

    Raises:
        DataError: A table lacks it, and a key that no row has does not mean null in its format.
    """
    cells: ColumnCells = []
    for table in tables:
        found = table.find(name)
        if found is not None:
            cells += table.read(found)
        elif find_suffix(table.path) in (*JSON_SUFFIXES, ".tar"):
            cells += [None] * table.count  # a key that no row has is null
        else:
            raise DataError(
                f"{table.path} has no column '{name}', which other files of the table have",
                tip=f"rename its column, or leave {table.path.name} out of path",
            )
    return cells


def _join_row_names(tables: Sequence[OpenTable], starts: Sequence[int]) -> RowNames:
    """Return the names of the rows of several tables, of which each has its first row."""
    lines: list[int] = []
    if any(table.row_names.lines for table in tables):
        lines = [line for table in tables for line in table.row_names.lines or [0] * table.count]
    several = tuple(table.path.name for table in tables) if len(tables) > 1 else ()
    if len(set(several)) < len(several):  # shards of one name in several folders
        several = tuple(str(table.path) for table in tables)
    return RowNames(several, tuple(starts), lines)
