"""Conversion of the label cells of a table to target values.

Each function takes the cells of all rows and returns ``(values, class names)``; ``name_row``
returns what a row is called in messages.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from mmx.errors import DataError
from mmx.modalities.files import name_row as number_row
from mmx.modalities.number_spelling import Spelling
from mmx.modalities.tabular import normalize_spelling
from mmx.modalities.tabular_kinds import parse_number
from mmx.tasks.splits import SplitRows

LOST_SHARE = 1e-7
"""Largest accepted rounding error, as a fraction of the labels' range; below float32's own."""
LARGEST_NUMBER = 1e140
"""Largest absolute value of a label, so that sums of squares stay finite."""
FARTHEST = 1e18
"""Largest absolute value of a standardised label, so that its square is finite in float32."""
YES_NO = {"1": 1.0, "0": 0.0, "true": 1.0, "false": 0.0}

NameRow = Callable[[int], str]
"""Returns what a row is called in messages."""
LabelValues = tuple[npt.NDArray[Any], tuple[str, ...]]


def encode_classes(cells: Sequence[str | None]) -> LabelValues:
    """Return class indices ``(N,)`` int64; 0 where there is no label."""
    names = sort_classes({cell for cell in cells if cell is not None})
    index = {name: i for i, name in enumerate(names)}
    values = [0 if cell is None else index[cell] for cell in cells]
    return np.array(values, dtype=np.int64), names


def parse_numbers(
    cells: Sequence[str | None],
    column: str,
    name_row: NameRow = number_row,
    spelling: Spelling | None = None,
) -> LabelValues:
    """Return numbers ``(N,)`` float64; 0 where there is no label.

    Args:
        cells: The labels of all rows.
        column: Name of their column, for messages.
        name_row: Returns what a row is called in messages.
        spelling: How the numbers are written; None for plain numbers.

    Raises:
        DataError: A label is not a finite number, or rounding to float64 makes labels equal.
    """
    values = np.zeros(len(cells), dtype=np.float64)
    for row, cell in enumerate(cells):
        if cell is None:
            continue
        number = parse_number(cell) if spelling is None else spelling.parse(cell)
        values[row] = math.nan if number is None else number
        if not math.isfinite(values[row]):
            raise DataError(
                f"{name_row(row)}: label '{column}' is '{cell}', not a finite number",
                tip="target.kind=classes objective=cross_entropy   (reads words as labels)",
            )
    if spelling is None:
        _refuse_rounded(cells, values, column, name_row)
    return values, ()


def _refuse_rounded(
    cells: Sequence[str | None],
    values: npt.NDArray[np.float64],
    column: str,
    name_row: NameRow,
) -> None:
    """Refuse labels with differences that are lost in float64, such as nanoseconds since 1970.

    A rounding error of up to ``LOST_SHARE`` of the range is accepted.
    """
    rows = [row for row, cell in enumerate(cells) if cell is not None]
    known = values[rows]
    if not rows:
        return
    # The range may overflow to infinity; then every rounding error is allowed.
    with np.errstate(over="ignore"):
        allowed = LOST_SHARE * float(known.max() - known.min())
    # Half the distance to the next float64 bounds the rounding error of all labels.
    if np.spacing(np.abs(known).max()) / 2 <= allowed:
        return
    if not allowed and len({Decimal(str(cells[row])) for row in rows}) == 1:
        return  # all labels are equal, so there is no difference to lose
    for row in rows:
        kept = Decimal(float(values[row]))
        if abs(Decimal(str(cells[row])) - kept) > allowed:
            raise DataError(
                f"{name_row(row)}: label '{column}' is '{cells[row]}', which 64 bits hold as "
                f"{kept}: too coarse for labels so close to each other",
                tip="subtract a constant from the column, or give it in a coarser unit",
            )


def note_rounding(cells: Sequence[str | None], values: npt.NDArray[np.float64]) -> Iterator[str]:
    """Yield a note if whole numbers were rounded by float64.

    Args:
        cells: The cells that :func:`parse_numbers` got.
        values: The values that it returned.
    """
    lost = []
    # Up to 2^53, float64 holds all whole numbers exactly.
    for row in np.flatnonzero(np.abs(values) > 2.0**53).tolist():
        written = str(cells[row]).strip()
        if written.lstrip("+-").isdecimal() and (by := abs(int(written) - int(values[row]))):
            lost.append(by)
    if lost:
        yield (
            f"{len(lost)} of {len(cells)} labels have more digits than 64 bits can hold and are "
            f"rounded, by at most {max(lost)}"
        )


def measure_moments(
    values: npt.NDArray[np.float64],
    train: SplitRows,
    used: SplitRows,
    task: str,
    name_row: NameRow = number_row,
) -> tuple[float, float]:
    """Return mean and standard deviation of the training rows' numbers; 1 if all are equal.

    Args:
        values: ``(N,)`` finite numbers of all rows.
        train: The training rows.
        used: All rows of any split.
        task: Its name, for messages.
        name_row: Returns what a row is called in messages.

    Raises:
        DataError: Squares of the numbers, or of the standardised ones, would overflow.
    """
    own = values[train]
    lowest, highest = float(own.min()), float(own.max())
    if lowest == highest:  # the mean of equal numbers may differ from them in the last bit
        return lowest, 1.0
    if max(abs(lowest), abs(highest)) > LARGEST_NUMBER:
        raise _make_range_error(task, f"up to {max(lowest, highest, key=abs):g}")
    mean, std = float(own.mean()), float(own.std())
    if std < 1 / LARGEST_NUMBER:
        raise _make_range_error(task, f"that differ by at most {highest - lowest:g}")
    with np.errstate(over="ignore"):
        far = np.abs(values[used] / std - mean / std)  # values - mean could overflow
    if far.max() > FARTHEST:
        row = int(used[far.argmax()])
        raise DataError(
            f"{task}: {name_row(row)} has the label {values[row]:g}, which is too far from those "
            f"of the training rows ({lowest:g} to {highest:g})",
            tip="correct the row or leave it out",
        )
    return mean, std


def _make_range_error(task: str, what: str) -> DataError:
    return DataError(
        f"{task}: the training rows have labels {what}; 64 bits cannot hold their squares",
        tip="give the labels in another unit, so that they are of the order of 1",
    )


def encode_sets(cells: Sequence[Sequence[str] | None]) -> LabelValues:
    """Return ``(N, C)`` float32 of 0 and 1 from the labels listed in each row."""
    names = sort_classes({name for cell in cells for name in cell or ()})
    index = {name: i for i, name in enumerate(names)}
    values = np.zeros((len(cells), len(names)), dtype=np.float32)
    for row, cell in enumerate(cells):
        for name in cell or ():
            values[row, index[name]] = 1
    return values, names


def encode_flags(
    columns: dict[str, list[str | None]], name_row: NameRow = number_row
) -> LabelValues:
    """Return ``(N, C)`` float32 of 0 and 1 from one column for each label.

    Raises:
        DataError: A cell is neither 0 nor 1.
    """
    names = tuple(columns)
    values = np.zeros((len(columns[names[0]]), len(names)), dtype=np.float32)
    for index, (name, cells) in enumerate(columns.items()):
        for row, cell in enumerate(cells):
            plain = "0" if cell is None else normalize_spelling(cell.strip().lower())
            if plain not in YES_NO:
                raise DataError(
                    f"{name_row(row)}: label '{name}' is '{cell}'; "
                    f"accepted in a column of one label: {', '.join(YES_NO)}"
                )
            values[row, index] = YES_NO[plain]
    return values, names


def sort_classes(names: set[str]) -> tuple[str, ...]:
    """Return class names in numeric order if all are whole numbers, else alphabetically."""
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
