"""Cells of a table file: CSV, TSV, Parquet and JSON, read alike."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmx.errors import DataError
from mmx.tasks.csv_rows import open_csv
from mmx.tasks.json_rows import collect_keys, open_json
from mmx.tasks.parquet_columns import open_parquet, read_column

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".json")

ColumnCells = list[Any]


@dataclass(frozen=True)
class OpenTable:
    """A table file whose columns can be read.

    Attributes:
        path: The file.
        names: Of its columns.
        column: Reads one of them.
        types: Type of each column, in words, where the file says so.
        notes: How it was read, where that is not as usual.
    """

    path: Path
    names: list[str]
    column: Callable[[str], ColumnCells]
    types: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def find(self, name: str) -> str | None:
        """Return the column of that name, whatever spaces its header has around it."""
        if name in self.names:
            return name
        same = [known for known in self.names if known.strip() == name.strip()]
        return same[0] if len(same) == 1 else None

    def read(self, name: str) -> ColumnCells:
        """Return the cells of one column.

        Raises:
            DataError: There are two of that name, or its type cannot be read.
        """
        if self.names.count(name) > 1:
            raise DataError(
                f"{self.path} has more than one column '{name}'", tip="rename one of them"
            )
        with_errors = (pa.ArrowException, OSError)
        try:
            return self.column(name)
        except with_errors as error:
            raise DataError(f"cannot read table {self.path}: {error}") from error

    def texts(self, name: str, cells: ColumnCells, missing: frozenset[str]) -> list[str | None]:
        """Return cells as text, None where they are missing.

        Raises:
            DataError: A cell is nothing that text can be made of; names column and type.
        """
        texts = []
        for row, cell in enumerate(cells):
            try:
                texts.append(as_text(cell, missing))
            except TypeError as error:
                kind = f" of type {self.types[name]}" if name in self.types else ""
                raise DataError(
                    f"{self.path}: column '{name}'{kind} holds {error} in row {row + 1}, "
                    "which is no text",
                    tip="columns.tabular takes lists of numbers, columns.image and columns.audio "
                    "take the bytes of files",
                ) from error
        return texts


def open_table(path: Path) -> OpenTable:
    """Return a table whose columns can be read.

    CSV cells and JSON strings stay as they are, so that "007" keeps its zeros and "NA" its
    meaning.

    Raises:
        DataError: The file is of another kind, or broken.
    """
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise DataError(f"cannot read a table from {path}; accepted: {', '.join(TABLE_SUFFIXES)}")
    try:
        if suffix == ".parquet":
            file, types = open_parquet(path)
            names = file.schema_arrow.names
            return OpenTable(path, names, lambda name: read_column(file, path, name), types)
        if suffix in (".json", ".jsonl"):
            rows, notes = open_json(path)
            return OpenTable(
                path, collect_keys(rows), lambda name: [row.get(name) for row in rows], notes=notes
            )
        table = open_csv(path)
        return OpenTable(path, table.names, table.read, notes=table.notes)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read table {path}: {error}") from error


def as_text(cell: Any, missing: frozenset[str]) -> str | None:
    """Return a cell as text, None where it is missing; whole numbers have no ".0".

    Raises:
        TypeError: It is none, saying what it is instead.
    """
    if cell is None or cell != cell:  # NaN is not itself
        return None
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, decimal.Decimal):
        return format(cell, "f")
    if isinstance(cell, bytes):
        try:
            cell = cell.decode()
        except UnicodeDecodeError as error:
            raise TypeError(f"{len(cell)} bytes that are no UTF-8") from error
    for kind, what in (
        (list, "a list"),
        (dict, "an object"),
        (datetime.timedelta, "a duration"),
    ):
        if isinstance(cell, kind):
            raise TypeError(what)
    text = str(cell)
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can spell half of a pair
        raise TypeError("half a surrogate pair") from error
    return None if text.strip() in missing else text


def as_file(cell: Any, missing: frozenset[str]) -> str | bytes | None:
    """Return a cell as the path of a file, or as its bytes; None where it is missing.

    An object of ``bytes`` and ``path``, as Hugging Face's data sets embed them, is the bytes
    where there are any, else the path.

    Raises:
        TypeError: It is none of these, saying what it is instead.
    """
    if isinstance(cell, dict):
        if not cell.keys() & {"bytes", "path"}:
            raise TypeError("an object without bytes and path")
        cell = cell.get("bytes") or cell.get("path")
    return (cell or None) if isinstance(cell, bytes) else as_text(cell, missing)
