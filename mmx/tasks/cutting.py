"""Which rows a task trains, validates and tests on, where its data does not say so.

    test    of the data; or the fold in turn; or cut from the training rows
    val     of the data; or cut from the training rows

Cuts keep groups whole, or follow time, where the data has either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mmx.errors import DataError
from mmx.tasks.advice import type_task_option
from mmx.tasks.contents import Samples
from mmx.tasks.folds import Fold, divide_into_folds
from mmx.tasks.group_splits import cut_groups
from mmx.tasks.row_keys import RowKeys
from mmx.tasks.splits import TEST_SEED, SplitRows, cut, start_draw
from mmx.tasks.time_splits import cut_latest

ORDER = ("train", "val", "test")
UNSET = ("group", "time", "folds", "fold", "repeat", "repeats", "pool")
"""Options of tasks that a run's config leaves out where they are null, so that a run without them
has the config, and the fingerprint, of a run from before there were any."""
MOST_FOLDS = 10
"""Largest number of folds that is tried out for a tip."""
Splits = dict[str, SplitRows]


@dataclass(frozen=True)
class Cuts:
    """What a task says of the splits that its data lacks.

    Attributes:
        task: Its name, for messages.
        test_fraction: Share of the rows for ``test``; None: the data must have that split.
        val_fraction: Share of the training rows for ``val``.
        seed: Seed of the draw of ``val``.
        fold: The fold that is tested, in cross-validation.
        type_anew: What to type to have splits of the data cut anew; None: the task has no such
            option.
    """

    task: str
    test_fraction: float | None
    val_fraction: float
    seed: int
    fold: Fold | None = None
    type_anew: str | None = None

    def advise_cut(self, key: Literal["group", "time"]) -> str:
        """Return what to type where splits of the data contradict groups or times."""
        if self.type_anew is None:
            return type_task_option(key, None)
        return f"{self.type_anew} cuts them anew, by {key}; or {key}=null"


def cut_splits(samples: Samples, cuts: Cuts) -> tuple[Samples, list[str]]:
    """Return samples with all three splits, and notes on how they were cut.

    Rows to predict, which have no ``train``, get empty splits for those that they lack.

    Raises:
        DataError: The data's own splits share a group or are not in the order of time, a cut is
            not possible, or folds are asked of data with a test split of its own.
    """
    splits = dict(samples.splits)
    if "train" in splits:
        try:
            splits |= _divide(samples, cuts)
        except DataError as error:
            count = _find_folds(samples, cuts)
            if count is None:
                raise
            tip = f"{type_task_option('folds', count)} works; or {error.tip}"
            raise DataError(error.message, tip=tip) from error
    for name in ORDER:
        splits.setdefault(name, np.empty(0, dtype=np.int64))
    notes = []
    if cuts.fold is not None and "train" in samples.splits:
        notes.append(_note_fold(splits, cuts.fold, samples.groups))
    if samples.groups is not None:
        _refuse_shared_groups(cuts, samples.groups, splits)
        notes.append(_note_groups(samples.groups, splits))
    if samples.times is not None:
        _refuse_other_order(cuts, samples.times, splits)
        notes.append(_note_times(samples.times, splits))
    return replace(samples, splits=splits), notes


def _divide(samples: Samples, cuts: Cuts) -> Splits:
    """Return all three splits of rows with labels."""
    splits = dict(samples.splits)
    if cuts.fold is not None:
        splits = _take_fold(samples, splits, cuts, cuts.fold)
    elif "test" not in splits and cuts.test_fraction is not None:
        parts = _cut(samples, splits["train"], cuts.test_fraction, "test", TEST_SEED, cuts.task)
        splits["train"], splits["test"] = parts
    if "val" not in splits:
        rows = splits["train"]
        parts = _cut(samples, rows, cuts.val_fraction, "val", cuts.seed, cuts.task)
        splits["train"], splits["val"] = parts
        if cuts.fold is not None and not len(splits["val"]):
            raise DataError(
                f"{cuts.task}: no val split can be cut from the {len(rows)} rows that train fold "
                f"{cuts.fold.number} of {cuts.fold.count}: each is the only one of its class",
                tip="give each class more rows",
            )
    return splits


def _find_folds(samples: Samples, cuts: Cuts) -> int | None:
    """Return the nearest number of folds that can all be trained; None without any, or folds."""
    if (asked := cuts.fold) is None:
        return None

    def works(count: int) -> bool:
        folds = [replace(asked, number=number + 1, count=count) for number in range(count)]
        try:
            return all(_divide(samples, replace(cuts, fold=fold)) for fold in folds)
        except DataError:
            return False

    others = [*range(asked.count + 1, MOST_FOLDS + 1), *range(asked.count - 1, 1, -1)]
    return next(filter(works, others), None)


def make_strata(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the strata of a draw, ``(N,)``: the classes, or zeros for all other targets."""
    if values.ndim == 1 and values.dtype == np.int64:
        return values
    return np.zeros(len(values), dtype=np.int64)


def _cut(
    samples: Samples,
    rows: SplitRows,
    fraction: float,
    purpose: Literal["test", "val"],
    seed: int,
    task: str,
) -> tuple[SplitRows, SplitRows]:
    """Return the remaining rows and those of a new split."""
    labels = make_strata(samples.values)[rows]
    if samples.times is not None:
        rest, part = cut_latest(rows, samples.times.of_rows[rows], fraction)
        if not len(part):
            raise DataError(
                f"{task}: no {purpose} split can be cut by time: all {len(rows)} rows have the "
                f"time {samples.times.name_of(int(rows[0]))!r}"
                if len(rows)
                else f"{task}: there is no row to cut a {purpose} split from",
                tip=type_task_option("time", None),
            )
        return rest, part
    if samples.groups is not None:
        of_rows = samples.groups.of_rows[rows]
        is_cut = cut_groups(of_rows, labels, fraction, start_draw(purpose, seed))
        if not is_cut.any():
            count, column = samples.groups.count(rows), f"column '{samples.groups.name}'"
            why = f"of the {count} groups in {column}, each is the only one with some class"
            if count < 2:
                why = f"all {len(rows)} rows are in one group of {column}"
            raise DataError(
                f"{task}: no {purpose} split can be cut by group: {why}",
                tip=type_task_option("group", None),
            )
        return rows[~is_cut], rows[is_cut]
    return cut(rows, labels, fraction, seed=seed, purpose=purpose)


def _take_fold(samples: Samples, splits: Splits, cuts: Cuts, fold: Fold) -> Splits:
    """Return the fold as ``test``, and the other rows of the pool as ``train``."""
    if "test" in splits and fold.pool is None:
        raise DataError(
            f"{cuts.task}: folds={fold.count} divides the rows anew, and the data has a test split "
            f"of its own ({len(splits['test'])} rows)",
            tip=f"{type_task_option('pool', 'train')} leaves its test rows out; "
            "pool=all divides them too",
        )
    names = ORDER if fold.pool == "all" else ("train", "val")
    rows = np.sort(np.concatenate([splits[name] for name in names if name in splits]))
    labels = make_strata(samples.values)[rows]
    groups = None if samples.groups is None else samples.groups.of_rows[rows]
    _refuse_single(samples, rows, cuts.task)
    try:
        of_rows = divide_into_folds(labels, groups, fold)
    except DataError as error:
        raise DataError(f"{cuts.task}: {error.message}", tip=error.tip) from error
    chosen = of_rows == fold.number - 1
    return {"train": rows[~chosen], "test": rows[chosen]}


def _refuse_single(samples: Samples, rows: SplitRows, task: str) -> None:
    """Refuse classes that one fold would hold alone, so that they could not be trained."""
    labels = make_strata(samples.values)[rows]
    own = {
        name: rows[labels == index]
        for index, name in enumerate(samples.classes if samples.values.ndim == 1 else ())
    }
    groups = samples.groups
    if groups is not None:
        alone = [name for name, each in own.items() if len(each) and groups.count(each) == 1]
        if alone:
            group = groups.name_of(int(own[alone[0]][0]))
            why = f"is in one group alone ({group!r} of column '{groups.name}')"
            raise _make_single_error(task, why, alone, samples, "target.group=null")
    if alone := [name for name, each in own.items() if len(each) == 1]:
        more = "give each class two rows at least"
        raise _make_single_error(task, "has one row", alone, samples, more)


def _make_single_error(
    task: str, why: str, alone: Sequence[str], samples: Samples, other: str
) -> DataError:
    """Return the error on classes that one fold would hold alone.

    Args:
        task: Name of the task.
        why: What is the matter with the first of the classes.
        alone: The classes.
        samples: The rows, which may have other classes.
        other: What else to do than to leave these classes out.
    """
    more = len(alone) - 1
    alike = f" ({more} more {'class is' if more == 1 else 'classes are'} alike)" if more else ""
    rest = [each for each in samples.classes if each not in alone]
    leave_out = f"{type_task_option('classes', rest)}, or " if len(rest) > 1 else ""
    return DataError(
        f"{task}: class '{alone[0]}' {why}: the fold that tests it cannot train it{alike}",
        tip=leave_out + other,
    )


def _refuse_shared_groups(cuts: Cuts, groups: RowKeys, splits: Splits) -> None:
    """Refuse groups that are in two splits, which only the data's own can be."""
    for one, other in combinations(ORDER, 2):
        in_one, in_other = (groups.of_rows[splits[name]] for name in (one, other))
        shared = np.intersect1d(in_one, in_other)
        if len(shared):
            rows = [
                int(splits[name][np.flatnonzero(groups.of_rows[splits[name]] == shared[0])[0]])
                for name in (one, other)
            ]
            raise DataError(
                f"{cuts.task}: {len(shared)} groups of column '{groups.name}' are in both {one} "
                f"and {other} of the data's own splits, such as {groups.names[shared[0]]!r} in "
                f"{groups.name_row(rows[0])} and {groups.name_row(rows[1])}",
                tip=cuts.advise_cut("group"),
            )


def _refuse_other_order(cuts: Cuts, times: RowKeys, splits: Splits) -> None:
    """Refuse splits that are not one after the other in time."""
    for one, other in combinations(ORDER, 2):
        if not (len(splits[one]) and len(splits[other])):
            continue
        last = int(splits[one][times.of_rows[splits[one]].argmax()])
        first = int(splits[other][times.of_rows[splits[other]].argmin()])
        if times.of_rows[last] >= times.of_rows[first]:
            raise DataError(
                f"{cuts.task}: the data's own splits are not in the order of column "
                f"'{times.name}': {times.name_row(last)} of {one} ({times.name_of(last)!r}) "
                f"is not before {times.name_row(first)} of {other} ({times.name_of(first)!r})",
                tip=cuts.advise_cut("time"),
            )


def _note_fold(splits: Splits, fold: Fold, groups: RowKeys | None) -> str:
    count = len(splits["test"])
    held = "" if groups is None else f" in {groups.count(splits['test'])} groups"
    which = f"fold {fold.number} of {fold.count}" + (
        f", repeat {fold.repeat}" if fold.repeat > 1 else ""
    )
    return f"{which} is tested: {count} rows{held}"


def _note_groups(groups: RowKeys, splits: Mapping[str, SplitRows]) -> str:
    each = ", ".join(f"{name} {groups.count(splits[name])}" for name in ORDER)
    return f"groups by column '{groups.name}', none in two splits: {each}"


def _note_times(times: RowKeys, splits: Mapping[str, SplitRows]) -> str:
    parts = []
    for name in ORDER:
        rows = splits[name]
        if len(rows):
            of_rows = times.of_rows[rows]
            first, last = times.names[of_rows.min()], times.names[of_rows.max()]
            parts.append(f"{name} {first} to {last} ({len(rows)} rows)")
    return f"split by time, column '{times.name}': {', '.join(parts)}"
