"""Label cells of a table as target values.

Each function takes the rows that have a label and returns ``(values, class names)``.
Row numbers in errors count from 1, the header not counted.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mmx.errors import DataError

YES_NO = {"1": 1.0, "0": 0.0, "true": 1.0, "false": 0.0}

Values = tuple[npt.NDArray[Any], tuple[str, ...]]


def classes(cells: Sequence[str | None]) -> Values:
    """Return class indices ``(N,)`` int64; 0 where there is no label."""
    names = in_order({cell for cell in cells if cell is not None})
    index = {name: i for i, name in enumerate(names)}
    values = [0 if cell is None else index[cell] for cell in cells]
    return np.array(values, dtype=np.int64), names


def numbers(cells: Sequence[str | None], column: str) -> Values:
    """Return numbers ``(N,)`` float32; 0 where there is no label.

    Raises:
        DataError: A label is not a finite number.
    """
    values = np.zeros(len(cells), dtype=np.float32)
    for row, cell in enumerate(cells):
        if cell is None:
            continue
        try:
            values[row] = float(cell)
        except ValueError:
            values[row] = math.nan
        if not math.isfinite(values[row]):
            raise DataError(
                f"row {row + 1}: label '{column}' is '{cell}', not a finite number",
                tip="kind=classes takes words as labels",
            )
    return values, ()


def sets(cells: Sequence[Sequence[str] | None]) -> Values:
    """Return ``(N, C)`` float32 of 0 and 1 from the labels listed in each row."""
    names = in_order({name for cell in cells for name in cell or ()})
    index = {name: i for i, name in enumerate(names)}
    values = np.zeros((len(cells), len(names)), dtype=np.float32)
    for row, cell in enumerate(cells):
        for name in cell or ():
            values[row, index[name]] = 1
    return values, names


def flags(columns: dict[str, list[str | None]]) -> Values:
    """Return ``(N, C)`` float32 of 0 and 1 from one column a label.

    Raises:
        DataError: A cell is neither 0 nor 1.
    """
    names = tuple(columns)
    values = np.zeros((len(columns[names[0]]), len(names)), dtype=np.float32)
    for index, (name, cells) in enumerate(columns.items()):
        for row, cell in enumerate(cells):
            if cell is not None and cell.lower() not in YES_NO:
                raise DataError(
                    f"row {row + 1}: label '{name}' is '{cell}'; "
                    f"accepted in a column that is one label: {', '.join(YES_NO)}"
                )
            values[row, index] = 0 if cell is None else YES_NO[cell.lower()]
    return values, names


def in_order(names: set[str]) -> tuple[str, ...]:
    """Return class names as numbers in their order where all are, else by the alphabet."""
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
