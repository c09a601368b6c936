"""Conversion of the cells of a table to the columns of its modalities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from mmx.errors import DataError
from mmx.modalities import Column
from mmx.modalities.audio import AudioColumn
from mmx.modalities.files import FileOrBytes
from mmx.modalities.image import ImageColumn
from mmx.modalities.tabular import TabularColumn
from mmx.modalities.text import TextColumn
from mmx.tasks.cells import ColumnCells, OpenTable, as_file
from mmx.tasks.vectors import divide_vectors


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


def make_media_column(
    modality: str, files: list[FileOrBytes | None], lost: dict[int, Path]
) -> Column:
    """Return a column of images or of sounds."""
    column: Column = ImageColumn(files) if modality == "image" else AudioColumn(files)
    column.lost = lost
    return column


def make_text_column(
    table: OpenTable,
    names: Iterable[str],
    cells: Mapping[str, ColumnCells],
    missing: frozenset[str],
) -> Column:
    """Return the texts of some columns, joined by a space."""
    parts = [table.to_texts(name, cells[name], missing) for name in names]
    return TextColumn([_join(row) for row in zip(*parts, strict=True)])


def make_tabular_column(
    table: OpenTable,
    names: Iterable[str],
    cells: Mapping[str, ColumnCells],
    missing: frozenset[str],
) -> Column:
    """Return a column of numbers and words; each item of a list of numbers is a column."""
    columns: dict[str, list[str | None]] = {}
    for name in names:
        vector = divide_vectors(name, cells[name], missing)
        if vector is None:
            columns[name] = table.to_texts(name, cells[name], missing)
        else:
            columns |= vector
    return TabularColumn(columns)


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
