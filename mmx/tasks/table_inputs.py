"""Conversion of the cells of a table to the columns of its modalities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmx.errors import DataError
from mmx.modalities import Column
from mmx.modalities.base import Cells
from mmx.modalities.files import FileOrBytes
from mmx.tasks.array_cells import find_arrays, join_numbers
from mmx.tasks.cells import ColumnCells, OpenTable, as_file
from mmx.tasks.vectors import divide_vectors

Lost = dict[int, Path]
"""Row to its file, for files that do not exist."""

ONE_COLUMN: frozenset[Cells] = frozenset({"file", "array"})
"""Kinds of cells of which a modality has a single column."""


@dataclass(frozen=True)
class NamedCells:
    """The columns that make up a modality.

    Attributes:
        table: The table, for messages.
        names: Names of the columns.
        cells: Column to its cells.
        missing: Texts that count as missing.
        root: Folder that paths are relative to.
    """

    table: OpenTable
    names: list[str]
    cells: Mapping[str, ColumnCells]
    missing: frozenset[str]
    root: Path


def make_column(kind: type[Column], given: NamedCells) -> tuple[Column, Lost]:
    """Return the column of a modality, and the files that do not exist.

    Args:
        kind: Class of the column, which says what its cells hold.
        given: The cells.

    Raises:
        DataError: A cell holds something else; the message names column and row.
    """
    make: Any = kind  # its only positional argument is what ``READERS`` returns for its cells
    values, lost = READERS[kind.cells](given)
    column: Column = make(values)
    column.lost = lost
    return column, lost


def _read_files(given: NamedCells) -> tuple[list[FileOrBytes | None], Lost]:
    name = given.names[0]
    return find_files(given.table, name, given.cells[name], given.missing, given.root)


def _read_texts(given: NamedCells) -> tuple[list[str | None], Lost]:
    parts = [given.table.to_texts(name, given.cells[name], given.missing) for name in given.names]
    return [_join(row) for row in zip(*parts, strict=True)], {}


def _read_values(given: NamedCells) -> tuple[dict[str, list[str | None]], Lost]:
    """Return columns of numbers and words; each item of a list of numbers is a column."""
    columns: dict[str, list[str | None]] = {}
    for name in given.names:
        vector = divide_vectors(name, given.cells[name], given.missing)
        if vector is None:
            columns[name] = given.table.to_texts(name, given.cells[name], given.missing)
        else:
            columns |= vector
    return columns, {}


def _read_numbers(given: NamedCells) -> tuple[Any, Lost]:
    """Return vectors ``(N, D)``, or the file of each row."""
    if len(given.names) == 1:
        name = given.names[0]
        files = find_arrays(name, given.cells[name], given.missing, axes=1)
        if files is None:
            return _read_files(given)
    columns = [(name, given.cells[name]) for name in given.names]
    return join_numbers(columns, given.missing), {}


def _read_arrays(given: NamedCells) -> tuple[list[Any], Lost]:
    """Return the array of each row, or its file."""
    name = given.names[0]
    arrays = find_arrays(name, given.cells[name], given.missing, axes=2)
    return _read_files(given) if arrays is None else (arrays, {})


READERS: dict[Cells, Callable[[NamedCells], tuple[Any, Lost]]] = {
    "file": _read_files,
    "texts": _read_texts,
    "values": _read_values,
    "numbers": _read_numbers,
    "array": _read_arrays,
}
"""What a column's cells hold to what reads them."""


def find_files(
    table: OpenTable, name: str, cells: ColumnCells, missing: frozenset[str], root: Path
) -> tuple[list[FileOrBytes | None], dict[int, Path]]:
    """Return the file of each row, or its bytes, and the files that do not exist.

    Args:
        table: The table, for messages.
        name: Name of the column.
        cells: Paths, bytes, or objects with both.
        missing: Texts that count as missing.
        root: Folder that the paths are relative to.

    Raises:
        DataError: A cell is none of these.
    """
    files: list[FileOrBytes | None] = []
    lost = {}
    for row, cell in enumerate(cells):
        try:
            one = as_file(cell, missing)
        except TypeError as error:
            kind = f" of type {table.types[name]}" if name in table.types else ""
            raise DataError(
                f"{table.path}: column '{name}'{kind} holds {error} in row {row + 1}; "
                "accepted: paths, bytes of files, and objects with bytes and path"
            ) from error
        if isinstance(one, str):
            path = root / one
            if not _is_file(path):
                lost[row] = path
            files.append(None if row in lost else path)
        else:
            files.append(one)
    return files, lost


def _is_file(path: Path) -> bool:
    """Return whether a file exists; a cell may be too long for a path, or contain NUL."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _join(parts: tuple[str | None, ...]) -> str | None:
    """Return the parts that are not missing, joined by spaces, or None if all are missing."""
    texts = [part for part in parts if part is not None]
    return " ".join(texts) if texts else None
