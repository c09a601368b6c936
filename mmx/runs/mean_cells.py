"""Cells of means over seeds or folds, as people read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

FEWEST = 3
"""Values from which a mean is shown with its interval. Student's t interval of two values has one
degree of freedom: it is 13 times as long as their distance, and says less than the values do."""
MEANS = f"± 95 % interval, of {FEWEST} or more; of two, both values"
"""What the cells of a table of means are."""


def format_mean_cell(
    mean: float,
    half_width: float | None,
    values: Sequence[float],
    write: Callable[[float], str],
) -> str:
    """Return a mean with half of its interval, or with its values where they are too few.

    Args:
        mean: The mean.
        half_width: Half of its interval; None where there is none.
        values: What it is the mean of.
        write: Writes a number.
    """
    if len(values) >= FEWEST and half_width is not None:
        return f"{write(mean)} ± {write(half_width).removeprefix('+')}"
    if len(values) == 2:
        return f"{write(mean)} ({' and '.join(map(write, values))})"
    return write(mean)
