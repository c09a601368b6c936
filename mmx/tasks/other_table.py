"""Another labelled table, read as that of a task, with the classes that a model knows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from mmx.errors import DataError, closest
from mmx.tasks import contract
from mmx.tasks.contents import Samples, Target, TaskData

if TYPE_CHECKING:
    from mmx.tasks.table import Table

DIVIDING = ("split", "group", "time", "folds", "fold", "repeat", "repeats", "pool")
WHOLE: dict[str, Any] = dict.fromkeys((*DIVIDING, "limit", "fraction", "per_class"))
"""Options that divide or reduce rows; none does so here."""
SHOWN = 12


def load_other_table(task: Table, path: str, target: Target) -> TaskData:
    """Return all labelled rows of another table as a ``test`` split.

    Args:
        task: The task that the table is read as; its column of splits is not read.
        path: The table.
        target: What a model predicts: classes in its order, numbers in the task's own unit.

    Raises:
        DataError: The table cannot be read, lacks a column, or has a class that the model does
            not know; the message names it and its first row.
    """
    classes = list(target.classes) or None
    other = dataclasses.replace(task, path=path, classes=classes, **WHOLE)
    samples = contract.check_samples(task.name, task.kind, task.modalities, other.read())
    rows = np.sort(np.concatenate(list(samples.splits.values())))
    values = samples.values
    if target.kind != "regression":
        values = _number_as(samples, rows, target, path)
    none = np.empty(0, dtype=np.int64)
    return TaskData(
        name=task.name,
        columns=samples.columns,
        values=torch.from_numpy(values),
        target=target,
        splits={"train": none, "val": none, "test": rows},
        fingerprint="",
        digests={},
        notes=samples.notes,
    )


def _number_as(
    samples: Samples, rows: npt.NDArray[np.int64], target: Target, path: str
) -> npt.NDArray[Any]:
    """Return class indices, or marks of labels, in the order of the target's classes."""
    places = {name: place for place, name in enumerate(target.classes)}
    several = target.kind == "multilabel"
    values = samples.values
    for index, name in enumerate(samples.classes):
        has = values[rows, index] > 0 if several else values[rows] == index
        if name not in places and has.any():
            _refuse_class(samples, name, int(rows[has.argmax()]), int(has.sum()), target, path)
    if not several:
        order = np.array([places.get(name, 0) for name in samples.classes], dtype=np.int64)
        return order[values] if len(order) else values
    marks = np.zeros((len(values), len(target.classes)), dtype=np.float32)
    for index, name in enumerate(samples.classes):
        if name in places:
            marks[:, places[name]] = values[:, index]
    return marks


def _refuse_class(
    samples: Samples, name: str, row: int, count: int, target: Target, path: str
) -> None:
    """Refuse a class that the model does not know.

    Raises:
        DataError: Always.
    """
    what = "class" if target.kind == "classes" else "label"
    first = next(iter(samples.columns.values())).name_row(row)
    known = ", ".join(target.classes[:SHOWN])
    more = f" and {len(target.classes) - SHOWN} more" if len(target.classes) > SHOWN else ""
    near, verb = closest(name, target.classes), "row has" if count == 1 else "rows have"
    raise DataError(
        f"{path}: {count} {verb} the {what} '{name}', which the "
        f"run was not trained on, {first} the first; it knows {known}{more}",
        tip=(f"write '{near}' if it is meant, or " if near else "")
        + f"leave these rows out, or train on them: the model never answers '{name}'",
    )
