"""Conversion of cells with lists of numbers to columns of one number each."""

from __future__ import annotations

import json
from typing import Any

from mmx.errors import DataError
from mmx.modalities.number_spelling import NumberText
from mmx.tasks.labels import NameRow
from mmx.tasks.spelling import TextCells


def divide_vectors(
    name: str, cells: list[Any], missing: frozenset[str], name_row: NameRow
) -> dict[str, TextCells] | None:
    """Return columns ``name[1]``, ``name[2]`` … of the lists' numbers, or None without lists.

    Args:
        name: Name of the column.
        cells: Lists of numbers, or such lists as JSON text; a missing cell is missing in all
            columns.
        missing: Texts that count as missing.
        name_row: Returns what a row is called in messages.

    Raises:
        DataError: Some cells are lists and others are not, the lists have different lengths, or
            an item is not a number.
    """
    lists = [as_list(cell) for cell in cells]
    first = next((row for row, one in enumerate(lists) if one is not None), None)
    if first is None:
        return None
    width = len(lists[first] or ())
    columns: list[TextCells] = [[] for _ in range(width)]
    for row, (cell, items) in enumerate(zip(cells, lists, strict=True)):
        if items is None:
            if not (cell is None or cell != cell or str(cell).strip() in missing):
                raise DataError(
                    f"{name_row(row)}: column '{name}' holds {str(cell)[:40]!r}, "
                    f"but a list of numbers in {name_row(first)}"
                )
            items = [None] * width  # a missing list is missing in all columns
        if len(items) != width:
            raise DataError(
                f"{name_row(row)}: the list in column '{name}' has {len(items)} items, "
                f"that of {name_row(first)} has {width}",
                tip="all lists of a column must have the same length",
            )
        for column, item in zip(columns, items, strict=True):
            column.append(_format_number(name, name_row(row), item))
    return {f"{name}[{place}]": column for place, column in enumerate(columns, start=1)}


def as_list(cell: Any) -> list[Any] | None:
    """Return the list of numbers that a cell is, or that it is written as; None without one."""
    if isinstance(cell, list):
        return cell
    if isinstance(cell, str) and "[" in cell and cell.lstrip().startswith("["):
        try:
            items = json.loads(cell)
        except (ValueError, RecursionError):
            return None
        if isinstance(items, list) and all(isinstance(i, int | float) or i is None for i in items):
            return items
    return None


def _format_number(name: str, row: str, item: Any) -> str | None:
    if item is None or item != item:
        return None
    if isinstance(item, bool) or not isinstance(item, int | float):
        kind = "a list" if isinstance(item, list) else f"{str(item)[:40]!r} ({type(item).__name__})"
        raise DataError(
            f"{row}: column '{name}' holds a list with {kind} in it; "
            "accepted: lists of numbers, all of the same length"
        )
    return NumberText(repr(item))  # the shortest text that reads back as the same number
