"""Cells that hold a list of numbers, as columns of one number each."""

from __future__ import annotations

import json
from typing import Any

from mmx.errors import DataError

Numbers = list[str | None]


def divide_vectors(
    name: str, cells: list[Any], missing: frozenset[str]
) -> dict[str, Numbers] | None:
    """Return ``name[1]``, ``name[2]`` … with the numbers of each list, None where there is none.

    Args:
        name: Of the column.
        cells: Lists of numbers, or text of such lists as JSON writes them; missing cells are
            missing in all columns.
        missing: Texts that count as missing.

    Raises:
        DataError: Some cells are lists and others are not, their lengths differ, or an item
            is no number.
    """
    lists = [_as_list(cell) for cell in cells]
    first = next((row for row, one in enumerate(lists) if one is not None), None)
    if first is None:
        return None
    width = len(lists[first] or ())
    columns: list[Numbers] = [[] for _ in range(width)]
    for row, (cell, items) in enumerate(zip(cells, lists, strict=True)):
        if items is None:
            if not (cell is None or cell != cell or str(cell).strip() in missing):
                raise DataError(
                    f"row {row + 1}: column '{name}' holds {str(cell)[:40]!r}, "
                    f"but a list of numbers in row {first + 1}"
                )
            items = [None] * width
        if len(items) != width:
            raise DataError(
                f"row {row + 1}: the list in column '{name}' has {len(items)} items, "
                f"that of row {first + 1} has {width}",
                tip="lists of one length are read as so many numbers",
            )
        for column, item in zip(columns, items, strict=True):
            column.append(_number(name, row, item))
    return {f"{name}[{place}]": column for place, column in enumerate(columns, start=1)}


def _as_list(cell: Any) -> list[Any] | None:
    if isinstance(cell, list):
        return cell
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            items = json.loads(cell)
        except (ValueError, RecursionError):
            return None
        if isinstance(items, list) and all(isinstance(i, int | float) or i is None for i in items):
            return items
    return None


def _number(name: str, row: int, item: Any) -> str | None:
    if item is None or item != item:
        return None
    if isinstance(item, bool) or not isinstance(item, int | float):
        kind = "a list" if isinstance(item, list) else f"{str(item)[:40]!r} ({type(item).__name__})"
        raise DataError(
            f"row {row + 1}: column '{name}' holds a list with {kind} in it; "
            "lists of numbers are read, of one length"
        )
    return repr(item)
