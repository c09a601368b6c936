"""Labelled rows whose truth is numbered as a model numbers its classes.

They are those of another table, or the run's own data, which may have changed since.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from mmx.errors import DataError, closest
from mmx.modalities import Column
from mmx.tasks import contract
from mmx.tasks.contents import Target, TaskData

if TYPE_CHECKING:
    from mmx.tasks.table import Table

DIVIDING = ("split", "group", "time", "folds", "fold", "repeat", "repeats", "pool")
WHOLE: dict[str, Any] = dict.fromkeys((*DIVIDING, "limit", "fraction", "per_class"))
"""Options that divide or reduce rows; none does so here."""
SHOWN = 12
UNKNOWN = -1
"""In place of a class index: a class that the model does not know."""


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
        _refuse_unknown(values, samples.classes, samples.columns, rows, target, path)
        values = _number_as(values, samples.classes, target)
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


def number_as_trained(
    data: TaskData, target: Target, rows: npt.NDArray[np.int64], name: str
) -> TaskData:
    """Return a task's data with its truth as a trained model numbers it.

    The classes of a table are those of its rows, in order of their names, and mean and standard
    deviation are those of its training rows: where rows have changed since a run, neither may be
    those of its model.

    Args:
        data: As it is now.
        target: What the model predicts.
        rows: Those whose classes or labels the model must know. In others a class that it does
            not know is :data:`UNKNOWN`, and such a label is left out.
        name: Of the data, in messages.

    Raises:
        DataError: One of the rows has a class or label that the model does not know, or the data
            is to be predicted as another kind of target.
    """
    if data.target.kind != target.kind:
        raise DataError(
            f"{name}: it has a target of kind {data.target.kind} now, and the model predicts "
            f"{target.kind}",
            tip="target.path=<the table that the run was trained on>",
        )
    if data.target.classes == target.classes:
        return dataclasses.replace(data, target=target)
    values, classes = data.values.numpy(), data.target.classes
    _refuse_unknown(values, classes, data.columns, rows, target, name)
    numbered = torch.from_numpy(_number_as(values, classes, target))
    return dataclasses.replace(data, values=numbered, target=target)


def keep_known_training_rows(data: TaskData) -> tuple[TaskData, str]:
    """Return data without training rows whose class is :data:`UNKNOWN`, and a note on them.

    Args:
        data: As :func:`number_as_trained` returns it.

    Raises:
        DataError: The model knows none of their classes.
    """
    if data.target.kind != "classes":
        return data, ""
    rows = data.splits["train"]
    known = rows[data.values[rows].numpy() != UNKNOWN]
    if len(known) == len(rows):
        return data, ""
    if not len(known):
        raise DataError(
            f"the model knows none of the classes of the training rows of {data.name}",
            tip="mmx reproduce RUN   (trains on the data as it is now)",
        )
    return dataclasses.replace(data, splits={**data.splits, "train": known}), (
        f"{len(rows) - len(known)} of {len(rows)} training rows have a class that the model does "
        "not know: the answer without any input does without them"
    )


def _number_as(
    values: npt.NDArray[Any], classes: Sequence[str], target: Target
) -> npt.NDArray[Any]:
    """Return class indices, or marks of labels, in the order of the target's classes."""
    places = {name: place for place, name in enumerate(target.classes)}
    if target.kind != "multilabel":
        order = np.array([places.get(name, UNKNOWN) for name in classes], dtype=np.int64)
        return order[values] if len(order) else values
    marks = np.zeros((len(values), len(target.classes)), dtype=np.float32)
    for index, name in enumerate(classes):
        if name in places:
            marks[:, places[name]] = values[:, index]
    return marks


def _refuse_unknown(
    values: npt.NDArray[Any],
    classes: Sequence[str],
    columns: Mapping[str, Column],
    rows: npt.NDArray[np.int64],
    target: Target,
    path: str,
) -> None:
    """Refuse rows with a class or label that the model does not know.

    Raises:
        DataError: There is one; the message names it and its first row.
    """
    several = target.kind == "multilabel"
    for index, name in enumerate(classes):
        has = values[rows, index] > 0 if several else values[rows] == index
        if name not in target.classes and has.any():
            _refuse_class(columns, name, int(rows[has.argmax()]), int(has.sum()), target, path)


def _refuse_class(
    columns: Mapping[str, Column], name: str, row: int, count: int, target: Target, path: str
) -> None:
    """Refuse a class that the model does not know.

    Raises:
        DataError: Always.
    """
    what = "class" if target.kind == "classes" else "label"
    first = next(iter(columns.values())).name_row(row)
    known = ", ".join(target.classes[:SHOWN])
    more = f" and {len(target.classes) - SHOWN} more" if len(target.classes) > SHOWN else ""
    near, verb = closest(name, target.classes), "row has" if count == 1 else "rows have"
    raise DataError(
        f"{path}: {count} {verb} the {what} '{name}', which the "
        f"run was not trained on, {first} the first; it knows {known}{more}",
        tip=(f"write '{near}' if it is meant, or " if near else "")
        + f"leave these rows out, or train on them: the model never answers '{name}'",
    )
