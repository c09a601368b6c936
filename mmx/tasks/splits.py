"""Splits as pure functions of labels and a seed: cut off a part, or keep a few rows.

The rows of each class are shuffled, and the first ones are drawn. So the 5 rows per class of a
seed are among the 10 rows per class of the same seed, and the rows drawn of one class do not
depend on the other classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mmx.errors import DataError

SplitRows = npt.NDArray[np.int64]
Purpose = Literal["test", "val", "few", "cap", "fold"]

TEST_SEED = 0  # not the user's seed, so that the test rows are always the same

# Part of the seed, so never renumber.
_PURPOSES = {"test": 1, "val": 2, "few": 3, "cap": 4, "fold": 5}


def start_draw(purpose: Purpose, *seed: int) -> np.random.Generator:
    """Return the generator of a draw; draws for different purposes are independent."""
    return np.random.default_rng([_PURPOSES[purpose], *seed])


def cut(
    rows: SplitRows, labels: npt.NDArray[Any], fraction: float, *, seed: int, purpose: Purpose
) -> tuple[SplitRows, SplitRows]:
    """Divide rows into two parts, with the same share of each class as far as possible.

    The last row of a class is never cut off, so a class with one row keeps it.

    Args:
        rows: Row numbers, ``(N,)``.
        labels: Class of each row, ``(N,)`` int64; all zeros if there are no classes.
        fraction: Share of the rows to cut off; at least one row if possible.
        seed: Seed of the draw.
        purpose: Purpose of the part; draws for different purposes are independent.

    Returns:
        The remaining rows and the rows that were cut off, both ascending.
    """
    sizes = _count_classes(labels)
    most = np.maximum(sizes - 1, 0)  # one row of each class stays
    total = min(max(1, round(fraction * len(rows))), int(most.sum()))
    part = _draw(rows, labels, divide_by_size(sizes, total, most=most), seed, purpose)
    return np.setdiff1d(rows, part), part


def draw_per_class(
    rows: SplitRows, labels: npt.NDArray[Any], count: int, *, seed: int, names: Sequence[str]
) -> SplitRows:
    """Return ``count`` rows of each class, ascending.

    Raises:
        DataError: A class has fewer rows.
    """
    sizes = _count_classes(labels, len(names))
    for name, size in zip(names, sizes.tolist(), strict=True):
        if size < count:
            plural = "row" if size == 1 else "rows"
            raise DataError(
                f"per_class={count}, but class '{name}' has {size} training {plural}",
                tip=f"at most target.per_class={size}, or leave the class out of target.classes"
                if size
                else "leave the class out of target.classes",
            )
    return _draw(rows, labels, np.full(len(names), count), seed, "few")


def draw_stratified(
    rows: SplitRows,
    labels: npt.NDArray[Any],
    total: int,
    *,
    seed: int,
    purpose: Purpose = "few",
    every_class: bool = True,
) -> SplitRows:
    """Return ``total`` rows, or all if there are fewer, ascending.

    Each class keeps its share. With ``every_class``, each class also keeps at least one row.

    Raises:
        DataError: ``every_class`` is set, and there are more classes than rows to keep.
    """
    sizes = _count_classes(labels)
    total = min(total, len(rows))
    least = np.minimum(sizes, 1 if every_class else 0)
    if least.sum() > total:
        raise DataError(
            f"{total} training rows are requested, fewer than the {least.sum()} classes",
            tip="target.per_class=1   (the smallest number with a row of every class)",
        )
    return _draw(rows, labels, divide_by_size(sizes, total, least=least), seed, purpose)


def divide_by_size(
    sizes: npt.NDArray[Any],
    total: int,
    *,
    least: npt.NDArray[Any] | int = 0,
    most: npt.NDArray[Any] | None = None,
) -> npt.NDArray[np.int64]:
    """Divide ``total`` over classes in proportion to their sizes, as whole numbers.

    This is the largest remainder method (Hamilton's), with ties by class index and each count
    within [least, most]. ``total`` must lie between the sums of the bounds.
    """
    most = sizes if most is None else most
    least = np.broadcast_to(least, sizes.shape)
    ideal = total * sizes / max(1, sizes.sum())
    counts: npt.NDArray[np.int64] = np.clip(np.floor(ideal), least, most).astype(np.int64)
    # Rounding down leaves rows over: they go to the classes with the largest remainders.
    while (short := total - counts.sum()) > 0:
        want = np.where(counts < most, ideal - counts, -np.inf)
        counts[np.argsort(-want, kind="stable")[: min(short, (counts < most).sum())]] += 1
    # The bounds may have raised counts too far: take rows from those above their share.
    while (over := counts.sum() - total) > 0:
        excess = np.where(counts > least, counts - ideal, -np.inf)
        counts[np.argsort(-excess, kind="stable")[: min(over, (counts > least).sum())]] -= 1
    return counts


def _count_classes(labels: npt.NDArray[Any], classes: int = 0) -> npt.NDArray[np.int64]:
    return np.bincount(labels.astype(np.int64), minlength=classes).astype(np.int64)


def _draw(
    rows: SplitRows,
    labels: npt.NDArray[Any],
    counts: npt.NDArray[Any],
    seed: int,
    purpose: Purpose,
) -> SplitRows:
    """Return ``counts[c]`` random rows of each class c, ascending."""
    drawn: list[SplitRows] = [np.empty(0, dtype=np.int64)]
    for label, count in enumerate(counts.tolist()):
        if count:
            # One generator for each class, so that classes do not affect each other.
            random = start_draw(purpose, seed, label)
            drawn.append(random.permutation(rows[labels == label])[:count])
    return np.sort(np.concatenate(drawn))
