"""In what rows differ from the training rows of a run, beyond what chance explains.

Shares are compared by the normal approximation of two binomials; three standard errors and five
points must lie between them, so that many comparisons of like data say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from mmx.evaluation.data_statistics import (
    DataStatistics,
    InputStatistics,
    LabelStatistics,
    NumberRange,
    TrainingStatistics,
)

LEAST = 0.05
"""Differences of shares below this are not said."""
ERRORS = 3.0
"""Standard errors that a difference must exceed."""
NAMED = 5
"""Values that a warning names."""
OF_FILES = {"width": "px", "height": "px", "length": "s", "steps": "", "frames": ""}
"""Sizes that are compared, and their units."""
PROPERTIES = ("sampling rate", "mode", "dimension", "frame rate")
"""Properties of files that are compared."""


def find_shifts(training: TrainingStatistics, other: DataStatistics) -> list[str]:
    """Return a sentence for each way in which rows differ from the training rows.

    Args:
        training: What the run has kept.
        other: The rows.
    """
    found: list[str] = []
    for name, here in other.inputs.items():
        if (there := training.train.inputs.get(name)) is None:
            continue
        val = training.val.inputs.get(name, there)
        found += _compare_missing(name, there, here)
        found += _compare_words(name, val, here)
        found += _compare_numbers(name, there, here)
        found += _compare_files(name, there, here)
    return [*found, *_compare_labels(training.train.labels, other.labels)]


def differs(part: int, whole: int, other_part: int, other_whole: int) -> bool:
    """Return whether two shares differ by more than chance, and enough to be said."""
    if not whole or not other_whole:
        return False
    one, two = part / whole, other_part / other_whole
    pooled = (part + other_part) / (whole + other_whole)
    error = math.sqrt(pooled * (1 - pooled) * (1 / whole + 1 / other_whole))
    return abs(one - two) > max(LEAST, ERRORS * error)


def _compare_missing(name: str, there: InputStatistics, here: InputStatistics) -> Iterator[str]:
    if differs(here.missing, here.rows, there.missing, there.rows):
        yield (
            f"{name}: {_share(here.missing, here.rows)} of the rows have none, "
            f"{_share(there.missing, there.rows)} of the training rows"
        )
    for column, count in here.missing_cells.items():
        before = there.missing_cells.get(column, 0)
        if differs(count, here.rows, before, there.rows):
            yield (
                f"{name}: {_share(count, here.rows)} of the cells of '{column}' are missing, "
                f"{_share(before, there.rows)} in the training rows"
            )


def _compare_words(name: str, val: InputStatistics, here: InputStatistics) -> Iterator[str]:
    if here.unknown and (
        not val.words or differs(here.unknown, here.words, val.unknown, val.words)
    ):
        yield (
            f"{name}: {_share(here.unknown, here.words)} of the words are unknown, "
            f"{_share(val.unknown, val.words)} in the validation rows"
        )


def _compare_numbers(name: str, there: InputStatistics, here: InputStatistics) -> Iterator[str]:
    for column, numbers in here.numbers.items():
        known = there.numbers.get(column)
        if known is None or not known.count or not numbers.count:
            continue
        if _is_beyond(known, numbers):
            yield (
                f"{name}: '{column}' is {numbers.low:.6g} to {numbers.high:.6g}, "
                f"{known.low:.6g} to {known.high:.6g} in the training rows"
            )


def _is_beyond(known: NumberRange, numbers: NumberRange) -> bool:
    """Return whether an end lies outside by more than a quarter of the known range.

    Of many more rows of one distribution the largest is larger: a little beyond says nothing.
    """
    room = 0.25 * (known.high - known.low)
    return numbers.low < known.low - room or numbers.high > known.high + room


def _compare_files(name: str, there: InputStatistics, here: InputStatistics) -> Iterator[str]:
    for size, unit in OF_FILES.items():
        known, found = there.sizes.get(size), here.sizes.get(size)
        if known is None or found is None or not _is_beyond(known, found):
            continue
        after = f" {unit}" if unit else ""
        yield (
            f"{name}: {size} is {found.low:.6g} to {found.high:.6g}{after}, "
            f"{known.low:.6g} to {known.high:.6g}{after} in the training rows"
        )
    for kind in PROPERTIES:
        before, now = there.tallies.get(kind, {}), here.tallies.get(kind, {})
        new = [value for value in now if value not in before]
        if before and new:
            shown = ", ".join(f"{value} ({now[value]} rows)" for value in new[:NAMED])
            yield (
                f"{name}: {kind} {shown} is in no training row; "
                f"there: {', '.join(list(before)[:NAMED])}"
            )


def _compare_labels(there: LabelStatistics, here: LabelStatistics) -> Iterator[str]:
    absent = [name for name, count in here.counts.items() if not count and there.counts.get(name)]
    if absent:
        more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
        yield (
            f"labels: no row has {', '.join(map(repr, absent[:NAMED]))}{more}; a metric that is a "
            "mean over classes is of the others, or undefined"
        )
    moved = [
        name
        for name, count in here.counts.items()
        if differs(count, here.rows, there.counts.get(name, 0), there.rows)
    ]
    if moved:
        shown = ", ".join(
            f"'{name}' {_share(here.counts[name], here.rows)} "
            f"(training {_share(there.counts.get(name, 0), there.rows)})"
            for name in moved[:NAMED]
        )
        yield f"labels: other shares than in the training rows: {shown}"
    if not here.counts and here.rows and there.std > 0:
        error = there.std / math.sqrt(here.rows)
        if abs(here.mean - there.mean) > max(0.2 * there.std, ERRORS * error):
            yield (
                f"labels: the mean is {here.mean:.6g}, {there.mean:.6g} in the training rows, "
                f"with a standard deviation of {there.std:.6g}"
            )
        known = NumberRange(there.rows, there.low, there.high)
        if _is_beyond(known, NumberRange(here.rows, here.low, here.high)):
            yield (
                f"labels: numbers are {here.low:.6g} to {here.high:.6g}, "
                f"{there.low:.6g} to {there.high:.6g} in the training rows"
            )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3g} %" if whole else "none"
