"""Checks, before anything is trained, that the training rows have something to teach."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from mmx.errors import DataError
from mmx.experiment import Experiment, Modalities
from mmx.metrics import Answers
from mmx.stage_id import Role
from mmx.tasks import Task, TaskData

FEW = 10
"""With fewer training rows that have a modality, a note says how many there are."""


def check_labels(experiment: Experiment, role: Role, task: Task, loaded: TaskData) -> None:
    """Refuse labels that are the same in every training row, if the objective reads labels.

    Args:
        experiment: The experiment, with the objective of the role.
        role: ``source`` or ``target``.
        task: The task of the role.
        loaded: Its data.

    Raises:
        DataError: There is nothing to learn.
    """
    rows = loaded.splits.get("train", np.empty(0, dtype=np.int64))
    own = experiment.roles.get(role)
    if own is None or own.objective.label_free or not len(rows):
        return
    labels = loaded.values.numpy()[rows]
    if not (labels == labels[0]).all():
        return
    shown = "of the same labels"
    if loaded.target.kind == "classes":
        shown = f"of the one class '{loaded.target.classes[int(labels[0])]}'"
    elif loaded.target.kind == "regression":
        shown = f"labelled {labels[0]:g}"
    many = "the only training row is" if len(rows) == 1 else f"all {len(rows)} training rows are"
    tip = "choose labels that differ between the rows, or add rows with other ones"
    if len(task.classes or ()) == 1:
        tip = f"{role}.classes=null   (every class), or name two or more"
    elif hasattr(task, "label"):
        tip = f"{role}.label=<another column>, or add rows with other labels"
    raise DataError(f"{loaded.name}: {many} {shown}: there is nothing to learn", tip=tip)


def check_metric(experiment: Experiment, loaded: TaskData) -> None:
    """Refuse a metric that is undefined on the validation rows, where it would have to select.

    Args:
        experiment: The experiment, with its metric.
        loaded: The data of the target.

    Raises:
        DataError: It has no value there, whatever a model answers.
    """
    metric, rows = experiment.metric, loaded.splits.get("val")
    if metric is None or rows is None or not len(rows):
        return
    values = loaded.values[torch.from_numpy(rows)]
    answers = Answers.of(torch.zeros(len(rows), loaded.target.outputs), values, loaded.target)
    if why := metric.explain_undefined(answers):
        raise DataError(
            f"metric={metric.name} is undefined on the {len(rows)} validation rows of "
            f"{loaded.name}, on which it would select: {why}",
            tip="metric=auto, or more validation rows",
        )


def check_modalities(
    experiment: Experiment, task: TaskData, modalities: Modalities
) -> tuple[str, ...]:
    """Refuse a modality that at most one training row has; note modalities that few have.

    Its encoder would stay as it was drawn, and yet be used at test.

    Args:
        experiment: The experiment, with the modalities of all tasks.
        task: The data of a task.
        modalities: The modalities of the task that are in use.

    Raises:
        DataError: Nothing can be learned about a modality.
    """
    rows = task.splits["train"]
    counts = {name: int(task.columns[name].present[rows].sum()) for name in modalities}
    lacking = {name: count for name, count in counts.items() if count < min(2, len(rows))}
    if lacking:
        raise DataError(
            f"{task.name}: "
            + " and ".join(_how_many(name, lacking[name], len(rows)) for name in lacking)
            + ": nothing can be learned of it, and what it says at test would be chance",
            tip=_leaving_out(experiment, set(lacking)),
        )
    return tuple(f"{task.name}: {note}" for note in note_few_rows(task, modalities))


def note_few_rows(task: TaskData, modalities: Iterable[str]) -> tuple[str, ...]:
    """Return a note on each modality that few training rows have."""
    rows = task.splits["train"]
    counts = {name: int(task.columns[name].present[rows].sum()) for name in modalities}
    return tuple(
        f"only {count} of {len(rows)} training rows have {name}"
        for name, count in counts.items()
        if count < min(FEW, len(rows))
    )


def _how_many(name: str, count: int, rows: int) -> str:
    return f"{'one' if count else 'none'} of {rows} training rows has {name}"


def _leaving_out(experiment: Experiment, lacking: set[str]) -> str:
    """Return what to type to train without some modalities, if every task keeps another one."""
    kept = sorted({name for own in experiment.modalities.values() for name in own} - lacking)
    if all(own.keys() & set(kept) for own in experiment.modalities.values()):
        return f"modalities=[{','.join(kept)}]"
    return f"let more training rows have {' and '.join(sorted(lacking))}"
