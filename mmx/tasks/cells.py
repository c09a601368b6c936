"""Cells of table files, with one meaning in CSV, TSV, Parquet and JSON."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmx.errors import DataError
from mmx.tasks.compressed import strip_compression
from mmx.tasks.csv_format import CsvFormat
from mmx.tasks.csv_rows import open_csv
from mmx.tasks.json_rows import collect_keys, open_json
from mmx.tasks.parquet_columns import open_parquet, read_column

TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
"""Suffixes of files of rows with a delimiter between their cells."""
TABLE_SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".pq", ".jsonl", ".ndjson", ".json")

ColumnCells = list[Any]


@dataclass(frozen=True)
class OpenTable:
    """A table file that is read column by column.

    Attributes:
        path: The file.
        names: Names of its columns.
        column: Reads one column.
        types: Type of each column in words, if the file states it.
        notes: Anything unusual about how it was read.
    """

    path: Path
    names: list[str]
    column: Callable[[str], ColumnCells]
    types: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def is_undivided(self) -> bool:
        """Whether it is one column of text, since its cells may be separated otherwise."""
        return len(self.names) == 1 and strip_compression(self.path).suffix in TEXT_SUFFIXES

    def find(self, name: str) -> str | None:
        """Return the column called ``name``, ignoring spaces around the names, or None."""
        if name in self.names:
            return name
        # Only if one column fits: of two, the user has to say which.
        same = [known for known in self.names if known.strip() == name.strip()]
        return same[0] if len(same) == 1 else None

    def read(self, name: str) -> ColumnCells:
        """Return the cells of one column.

        Raises:
            DataError: Two columns have that name, or its type cannot be read.
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
                kind = f" of type {self.types[name]}" if name in self.types else ""
                raise DataError(
                    f"{self.path}: column '{name}'{kind} holds {error} in row {row + 1}, "
                    "which is not text",
                    tip="columns.tabular takes lists of numbers, columns.image and columns.audio "
                    "take the bytes of files",
                ) from error
        return texts


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
    suffix = strip_compression(path).suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise DataError(f"cannot read a table from {path}; accepted: {', '.join(TABLE_SUFFIXES)}")
    try:
        if suffix in (".parquet", ".pq"):
            file, types = open_parquet(path)
            names = file.schema_arrow.names
            return OpenTable(path, names, lambda name: read_column(file, path, name), types)
        if suffix in (".json", ".jsonl", ".ndjson"):
            rows, notes = open_json(path, options.encoding)
            return OpenTable(
                path, collect_keys(rows), lambda name: [row.get(name) for row in rows], notes=notes
            )
        table = open_csv(path, options)
        return OpenTable(path, table.names, table.read, notes=table.notes)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read table {path}: {error}") from error


def as_text(cell: Any, missing: frozenset[str]) -> str | None:
    """Return a cell as text, None where it is missing; whole numbers have no ".0".

    Raises:
        TypeError: It has no representation as text; the message says what it is.
    """
    if cell is None or cell != cell:  # NaN is not itself
        return None
    # As CSV and JSON write the same values, so that a table can change its format.
    if isinstance(cell, bool):  # before numbers, since True is an int
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, decimal.Decimal):
        return format(cell, "f")  # str() may write an exponent
    if isinstance(cell, bytes):
        try:
            cell = cell.decode()
        except UnicodeDecodeError as error:
            raise TypeError(f"{len(cell)} bytes that are not UTF-8") from error
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
    except UnicodeEncodeError as error:  # a JSON escape such as "\ud83d" on its own
        raise TypeError("half a surrogate pair") from error
    return None if text.strip() in missing else text


def as_file(cell: Any, missing: frozenset[str]) -> str | bytes | None:
    """Return a cell as the path of a file, or as its bytes; None where it is missing.

    Of an object with ``bytes`` and ``path``, as Hugging Face's data sets embed files, the bytes
    are used if there are any, else the path.

    Raises:
        TypeError: It is none of these; the message says what it is.
    """
    if isinstance(cell, dict):
        if not cell.keys() & {"bytes", "path"}:
            raise TypeError("an object without bytes and path")
        cell = cell.get("bytes") or cell.get("path")  # empty bytes count as none
    return (cell or None) if isinstance(cell, bytes) else as_text(cell, missing)
