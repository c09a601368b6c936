"""k-fold cross-validation: a partition of the rows into folds, each of which is the test once.

A partition depends on the rows, their classes and groups, and the number of its repeat. It does
not depend on any of the user's seeds, so that all runs of a sweep have the same folds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mmx.errors import DataError
from mmx.tasks.advice import type_task_option
from mmx.tasks.group_splits import deal_groups
from mmx.tasks.splits import start_draw

FoldPool = Literal["train", "all"]
Partition = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """One fold of a partition.

    Attributes:
        number: 1 to ``count``.
        count: Number of folds.
        repeat: 1 for the first partition; others are drawn independently.
        pool: The rows that folds are cut from, where the data has a test split of its own.
    """

    number: int
    count: int
    repeat: int
    pool: FoldPool | None = None


def divide_into_folds(
    labels: npt.NDArray[Any], groups: npt.NDArray[np.int64] | None, fold: Fold
) -> Partition:
    """Return the fold of each row, ``(N,)``, 0 to K - 1.

    Without groups, the rows of each class are shuffled and dealt in turn, so that folds differ by
    at most one row, in all and of each class.

    Args:
        labels: Class of each row, ``(N,)``; all zeros if there are no classes.
        groups: Group of each row, which stays in one fold; None: any row may be in any fold.
        fold: Says how many folds there are, and which repeat it is.

    Raises:
        DataError: There are fewer rows or groups than folds, or an earlier repeat has the same
            folds.
    """
    count = len(labels) if groups is None else len(np.unique(groups))
    if count < fold.count:
        what = "rows" if groups is None else "groups"
        raise DataError(
            f"folds={fold.count}, but there are only {count} {what} to divide",
            tip=type_task_option("folds" if groups is None else "group", None),
        )
    found = _divide(labels, groups, fold.count, fold.repeat)
    for earlier in range(1, fold.repeat):
        if _are_same(found, _divide(labels, groups, fold.count, earlier)):
            raise DataError(
                f"repeat {fold.repeat} of folds={fold.count} has the same folds as repeat "
                f"{earlier}: so few {'rows' if groups is None else 'groups'} ({count}) can be "
                "divided in few ways, and averaging the same folds twice would look too certain",
                tip="target.repeats=null",
            )
    return found


def _divide(
    labels: npt.NDArray[Any], groups: npt.NDArray[np.int64] | None, count: int, repeat: int
) -> Partition:
    if groups is not None:
        random = start_draw("fold", repeat)
        return deal_groups(groups, labels, [1 / count] * count, random)
    places: list[npt.NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
    for label in np.unique(labels).tolist():
        own = np.flatnonzero(labels == label)
        places.append(start_draw("fold", repeat, label).permutation(own))
    of_rows = np.empty(len(labels), dtype=np.int64)
    # One class after the other, so that the next class goes on where the last one ended.
    of_rows[np.concatenate(places)] = np.arange(len(labels)) % count
    return of_rows


def _are_same(one: Partition, other: Partition) -> bool:
    """Return whether two partitions have the same folds, in whatever order."""
    return len(np.unique(np.stack([one, other]), axis=1).T) == len(np.unique(one))
