"""Cells with lists of numbers, or lists of lists, as arrays."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from mmx.errors import DataError
from mmx.modalities.files import name_row as number_row
from mmx.modalities.number_spelling import Spelling, read_float
from mmx.modalities.tabular_kinds import read_number
from mmx.tasks.advice import type_task_option
from mmx.tasks.cells import ColumnCells
from mmx.tasks.labels import NameRow

CellArray = npt.NDArray[np.float64]
SHOWN = 40  # characters of a cell in a message
_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
BARE_LIST = re.compile(
    rf"\s*(?:\w*\(\[?|\{{)?\s*{_NUMBER}(?:(?:\s*[,;|]\s*|\s+){_NUMBER})+,?\s*(?:\]?\)|\}})?\s*"
)
"""Several numbers, separated in some way, also as ``(1, 2)``, ``{1, 2}`` or ``tensor([1, 2])``."""
WORDS = {"nan": "NaN", "none": "null", "null": "null", "inf": "Infinity", "-inf": "-Infinity"}
"""How other programs than JSON's write what is no number."""


def find_arrays(
    name: str,
    cells: ColumnCells,
    missing: frozenset[str],
    *,
    axes: int,
    name_row: NameRow = number_row,
) -> list[CellArray | None] | None:
    """Return the array of each row; None where the cells are not lists, but files or numbers.

    Args:
        name: Name of the column.
        cells: Lists, or lists as JSON or Python writes them.
        missing: Texts that count as missing.
        axes: Most axes that an array may have: 1 or 2.
        name_row: Returns what a row is called in messages.

    Raises:
        DataError: Some cells are lists and others are not, or a list holds something else than
            numbers, or lists of different lengths.
    """
    first = next((row for row, cell in enumerate(cells) if is_list(cell)), None)
    if first is None:
        return None
    arrays: list[CellArray | None] = []
    for row, cell in enumerate(cells):
        if _is_missing(cell, missing):
            arrays.append(None)
        elif is_list(cell):
            arrays.append(_to_array(name, name_row(row), cell, axes))
        else:
            raise DataError(
                f"{name_row(row)}: column '{name}' holds {_show(cell)}, "
                f"but a list of numbers in {name_row(first)}"
            )
    return arrays


def are_numbers(cells: ColumnCells, missing: frozenset[str], decimal: str | None = None) -> bool:
    """Return whether each cell that is not missing is one number."""
    spelling = Spelling(",") if decimal == "," else None
    return all(
        _is_missing(cell, missing)
        or (isinstance(cell, int | float | str) and read_number(cell, spelling) is not None)
        for cell in cells
    )


def refuse_bare_lists(
    name: str, cells: ColumnCells, missing: frozenset[str], name_row: NameRow = number_row
) -> None:
    """Refuse cells with several numbers that are not written as a list.

    Args:
        name: Name of the column.
        cells: Its cells.
        missing: Texts that count as missing.
        name_row: Returns what a row is called in messages.

    Raises:
        DataError: The first cell that is not missing is one.
    """
    row = next((row for row, cell in enumerate(cells) if not _is_missing(cell, missing)), None)
    if row is None or not isinstance(cells[row], str) or not BARE_LIST.fullmatch(cells[row]):
        return
    items = re.findall(_NUMBER, cells[row])
    shown = items if len(items) < 4 else [*items[:3], "…"]
    why = "in more than the brackets" if "[" in cells[row] else "without the brackets"
    raise DataError(
        f"{name_row(row)}: column '{name}' holds {_show(cells[row])}, several numbers {why} of a "
        "list",
        tip=f"write [{', '.join(shown)}], in quotes in a CSV; or give each number a column of its "
        "own and name them all in columns.vector",
    )


def join_numbers(
    columns: list[tuple[str, ColumnCells]],
    missing: frozenset[str],
    name_row: NameRow = number_row,
    decimal: str | None = None,
) -> CellArray:
    """Return the numbers of several columns as vectors ``(N, D)``, NaN where one is missing.

    Args:
        columns: Names and cells: numbers, or lists of as many numbers in each row.
        missing: Texts that count as missing.
        name_row: Returns what a row is called in messages.
        decimal: The decimal mark of texts, if it is known.

    Raises:
        DataError: A cell is neither, or two lists of a column have different lengths.
    """
    return np.concatenate(
        [_read_numbers(name, cells, missing, name_row, decimal) for name, cells in columns], axis=1
    )


def _read_numbers(
    name: str,
    cells: ColumnCells,
    missing: frozenset[str],
    name_row: NameRow,
    decimal: str | None,
) -> CellArray:
    """Return one column, ``(N, 1)`` or ``(N, length of its lists)``."""
    arrays = find_arrays(name, cells, missing, axes=1, name_row=name_row)
    if arrays is None:
        numbers = [
            np.nan if _is_missing(cell, missing) else _to_number(name, name_row(row), cell, decimal)
            for row, cell in enumerate(cells)
        ]
        return np.array(numbers, dtype=np.float64)[:, None]
    first, width = next((row, len(each)) for row, each in enumerate(arrays) if each is not None)
    for row, each in enumerate(arrays):
        if each is not None and len(each) != width:
            raise DataError(
                f"{name_row(row)}: the list in column '{name}' has {len(each)} items, "
                f"that of {name_row(first)} has {width}",
                tip="all lists of a column must have the same length; columns.sequence reads "
                "lists of any length",
            )
    empty = np.full(width, np.nan)
    return np.stack([empty if each is None else each for each in arrays])


def is_list(cell: Any) -> bool:
    """Return whether a cell is a list, or is written as one."""
    return isinstance(cell, list) or (isinstance(cell, str) and cell.lstrip().startswith("["))


def _is_missing(cell: Any, missing: frozenset[str]) -> bool:
    if isinstance(cell, list | dict | bytes):
        return False
    return cell is None or cell != cell or str(cell).strip() in missing


def _show(cell: Any) -> str:
    text = str(cell)
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")


def _to_number(name: str, row: str, cell: Any, decimal: str | None) -> float:
    try:
        if isinstance(cell, bool | bytes | dict):
            raise TypeError
        is_text = isinstance(cell, str)
        number = Spelling(",").parse(cell) if is_text and decimal == "," else read_float(cell)
        if number is None:
            raise TypeError
        return number
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{row}: column '{name}' holds {_show(cell)}, which is no number",
            tip=_advise_comma(cell, decimal)
            or "columns.vector takes numbers, lists of numbers, or one column of .npy files; "
            "columns.tabular takes words too",
        ) from error


def _advise_comma(cell: Any, decimal: str | None) -> str | None:
    """Return what to type if a cell is a number with a decimal comma."""
    if decimal is not None or not isinstance(cell, str) or Spelling(",").parse(cell) is None:
        return None
    return type_task_option("csv.decimal", ",")


def _to_array(name: str, row: str, cell: Any, axes: int) -> CellArray:
    """Return a list of numbers ``(D,)``, or of lists of as many each ``(T, D)``."""
    where = f"{row}: column '{name}'"
    items = _parse(where, cell) if isinstance(cell, str) else cell
    _refuse_others(where, items, axes)
    if items and isinstance(items[0], list):
        lengths = [len(step) for step in items]
        if len(set(lengths)) > 1:
            odd = next(at for at, length in enumerate(lengths) if length != lengths[0])
            raise DataError(
                f"{where} holds lists of different lengths: step {odd + 1} has {lengths[odd]} "
                f"numbers, step 1 has {lengths[0]}"
            )
    try:
        return np.array(items, dtype=np.float64)  # None becomes NaN
    except OverflowError as error:
        raise DataError(f"{where} holds a number that is too large") from error


def _refuse_others(where: str, items: list[Any], axes: int) -> None:
    """Refuse a list that holds anything else than numbers, or lists of numbers."""
    nested = any(isinstance(item, list) for item in items)
    if nested and axes == 1:
        raise DataError(
            f"{where} holds a list of lists; a vector is one list of numbers",
            tip="columns.sequence takes lists of lists",
        )
    for item in items:
        inner = item if nested and isinstance(item, list) else [item]
        for each in inner:
            number = isinstance(each, int | float) and not isinstance(each, bool)
            if (number and (not nested or isinstance(item, list))) or (each is None):
                continue
            kind = "a list" if isinstance(each, list) else _show(each)
            raise DataError(
                f"{where} holds a list with {kind} in it; accepted: lists of numbers"
                + (", or lists of lists of numbers, all of one length" if axes == 2 else "")
            )


def _parse(where: str, text: str) -> list[Any]:
    """Return a list as JSON writes it, else as Python or numpy print it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _parse_printed(text)
    if isinstance(found, list):
        return found
    cut = "..." in text or "…" in text
    raise DataError(
        f"{where} holds {_show(text)}, which is no list of numbers"
        + ("; numpy has left numbers out where it printed '...'" if cut else ""),
        tip="write the lists with json.dumps(array.tolist()), or as .npy files",
    )


def _parse_printed(text: str) -> Any:
    """Return a list as Python or numpy print it, such as ``[1. nan]``; None for other text."""
    text = text.strip()
    if "," not in text:  # numpy separates by spaces
        text = re.sub(r"\s+", ",", text)
        text = re.sub(r"\[,", "[", re.sub(r",\]", "]", text))
    text = re.sub(r"-?[A-Za-z]{3,4}", lambda word: WORDS.get(word[0].lower(), word[0]), text)
    text = re.sub(r"(?<=\d)\.(?=[,\]\se])", ".0", text)  # 1. has no digit behind its point
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
