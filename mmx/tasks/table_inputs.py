"""Conversion of the cells of a table to the columns of its modalities."""

from __future__ import annotations

import glob
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mmx.errors import DataError
from mmx.modalities import Column
from mmx.modalities.base import Cells
from mmx.modalities.files import FileOrBytes
from mmx.modalities.members import Archive, Member, find_archive
from mmx.tasks.addresses import is_address, make_address_error, strip_file_scheme
from mmx.tasks.array_cells import are_numbers, find_arrays, join_numbers, refuse_bare_lists
from mmx.tasks.cells import ColumnCells, as_file
from mmx.tasks.open_table import OpenTable
from mmx.tasks.spelling import unify_spelling
from mmx.tasks.vectors import divide_vectors

LostFiles = dict[int, Path]
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
        root: Folder or archive that paths are relative to; None: the folder of the table.
        decimal: The decimal mark of numbers that are text, if it is known.
    """

    table: OpenTable
    names: list[str]
    cells: Mapping[str, ColumnCells]
    missing: frozenset[str]
    root: str | None
    decimal: str | None


def make_column(kind: type[Column], given: NamedCells) -> tuple[Column, LostFiles]:
    """Return the column of a modality, and the files that do not exist.

    Args:
        kind: Class of the column, which says what its cells hold.
        given: The cells.

    Raises:
        DataError: A cell holds something else; the message names column and row.
    """
    make: Any = kind  # its only positional argument is what ``READERS`` returns for its cells
    values, lost = READERS[kind.cells](given)
    files = _list_files(values)  # also those without sound, which may be given one
    if kind.cells == "file":
        values = [
            None if isinstance(each, Path) and not kind.is_in(each) else each for each in values
        ]
    column: Column = make(values)
    column.lost, column.files = lost, files
    return column, lost


def _list_files(values: Any) -> list[Path] | None:
    """Return the files among the values of a column; None where some are in archives."""
    if not isinstance(values, list):
        return []
    if any(isinstance(each, Member) for each in values):
        return None
    return [each for each in values if isinstance(each, Path)]


def _read_files(given: NamedCells) -> tuple[list[FileOrBytes | None], LostFiles]:
    name = given.names[0]
    return find_files(given.table, name, given.cells[name], given.missing, given.root)


def _read_texts(given: NamedCells) -> tuple[list[str | None], LostFiles]:
    parts = [given.table.to_texts(name, given.cells[name], given.missing) for name in given.names]
    return [_join(row) for row in zip(*parts, strict=True)], {}


def _read_values(given: NamedCells) -> tuple[dict[str, list[str | None]], LostFiles]:
    """Return columns of numbers and words; each item of a list of numbers is a column."""
    columns: dict[str, list[str | None]] = {}
    for name in given.names:
        vector = divide_vectors(name, given.cells[name], given.missing, given.table.row_names)
        if vector is None:
            texts = given.table.to_texts(name, given.cells[name], given.missing)
            columns[name] = unify_spelling(texts)
        else:
            columns |= vector
    return columns, {}


def _read_numbers(given: NamedCells) -> tuple[Any, LostFiles]:
    """Return vectors ``(N, D)``, or the file of each row."""
    if len(given.names) == 1:
        name = given.names[0]
        files = find_arrays(
            name, given.cells[name], given.missing, axes=1, name_row=given.table.row_names
        )
        numbers = files is None and are_numbers(given.cells[name], given.missing, given.decimal)
        if files is None and not (numbers and given.decimal == ","):
            found, lost = _read_other(given)
            if not lost or any(each is not None for each in found):
                return found, lost
            if not numbers:
                return found, lost
    columns = [(name, given.cells[name]) for name in given.names]
    return join_numbers(columns, given.missing, given.table.row_names, given.decimal), {}


def _read_arrays(given: NamedCells) -> tuple[list[Any], LostFiles]:
    """Return the array of each row, or its file."""
    name = given.names[0]
    arrays = find_arrays(
        name, given.cells[name], given.missing, axes=2, name_row=given.table.row_names
    )
    return _read_other(given) if arrays is None else (arrays, {})


def _read_other(given: NamedCells) -> tuple[list[FileOrBytes | None], LostFiles]:
    """Return the files of a column without lists.

    Raises:
        DataError: None of them exists, and the cells are lists without brackets.
    """
    files, lost = _read_files(given)
    if lost and all(each is None for each in files):
        name = given.names[0]
        refuse_bare_lists(name, given.cells[name], given.missing, given.table.row_names)
    return files, lost


READERS: dict[Cells, Callable[[NamedCells], tuple[Any, LostFiles]]] = {
    "file": _read_files,
    "texts": _read_texts,
    "values": _read_values,
    "numbers": _read_numbers,
    "array": _read_arrays,
}
"""What a column's cells hold to what reads them."""


def find_files(
    table: OpenTable, name: str, cells: ColumnCells, missing: frozenset[str], root: str | None
) -> tuple[list[FileOrBytes | None], dict[int, Path]]:
    """Return the file of each row, or its bytes, and the files that do not exist.

    Args:
        table: The table, for messages, and for the folders of its files.
        name: Name of the column.
        cells: Paths, bytes, or objects with both.
        missing: Texts that count as missing.
        root: Folder or archive that the paths are relative to; None: the folder of the table.

    Raises:
        DataError: A cell is none of these, or an address.
    """
    files: list[FileOrBytes | None] = []
    lost = {}
    places = _list_places(table, root)
    for row, cell in enumerate(cells):
        try:
            one = as_file(cell, missing)
        except TypeError as error:
            raise DataError(
                f"{table.path}: {table.describe(name)} holds {error} in {table.row_names(row)}; "
                "accepted: paths, bytes of files, and objects with bytes and path"
            ) from error
        if not isinstance(one, str):
            files.append(one)
            continue
        if is_address(one):
            raise make_address_error(
                f"{table.path}: {table.describe(name)}, {table.row_names(row)},", one
            )
        while len(places) > 1 and row >= places[1][0]:
            places.pop(0)
        file = find_file(places[0][1], one)
        if file is None:
            lost[row] = places[0][1] / one
        files.append(file)
    return files, lost


def _list_places(table: OpenTable, root: str | None) -> list[tuple[int, Path | Archive]]:
    """Return first rows and the folder or archive that paths are relative to from there on."""
    if root is None:
        return list(table.folders)
    if is_address(root):
        raise make_address_error("root", root)
    path = Path(strip_file_scheme(root)).expanduser()
    return [(0, find_archive(path) or path)]


def find_file(place: Path | Archive, text: str) -> Path | Member | None:
    """Return the file that a cell names, or None.

    The cell is taken as it is; where there is no such file, without spaces around it, with
    slashes for backslashes, with ``%20`` as a space, with accents as signs of their own or not
    (macOS writes them so), and with the home folder for ``~``.

    Args:
        place: What the cell is relative to.
        text: The cell.
    """
    slashed = text.strip().replace("\\", "/")
    plain = unquote(slashed)
    forms = (
        unicodedata.normalize(form, one) for one in (slashed, plain) for form in ("NFC", "NFD")
    )
    for spelled in dict.fromkeys((text, text.strip(), slashed, plain, *forms)):
        if isinstance(place, Archive):
            found = place.find(spelled)
            if found is not None:
                return found
            continue
        path = place / strip_file_scheme(spelled)
        if not _is_file(path) and spelled.startswith("~"):
            path = Path(spelled).expanduser()
        if _is_file(path):
            return path
    return None


def find_with_suffix(path: Path) -> Path | None:
    """Return the file of which a path lacks the suffix, where there is one."""
    try:
        return next(iter(sorted(path.parent.glob(f"{glob.escape(path.name)}.*"))), None)
    except (OSError, ValueError):
        return None


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
