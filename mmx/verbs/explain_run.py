"""What ``mmx explain`` computes of a run: shares of its inputs, and explanations of some rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmx.errors import DataError, UsageError, closest
from mmx.evaluation.subsets import SubsetAnswers, compute_prior, predict_subsets
from mmx.explanations import METHODS, Method
from mmx.explanations.chosen_rows import ChosenRow, choose_rows, judge_rows
from mmx.explanations.explained_rows import ExplainedRow, explain_inputs, list_unused
from mmx.explanations.shares import Shares, measure_row_shares, measure_shares
from mmx.metrics import Metric
from mmx.runs.directory import RunDirectory
from mmx.stage_id import Role
from mmx.stages import open_trained
from mmx.stages.core.opened_data import decode_task
from mmx.tasks import Target, TaskData
from mmx.tasks.other_table import keep_known_training_rows, number_as_trained
from mmx.training.data import Data, Rows
from mmx.verbs.predict import OpenedModel, open_model


@dataclass(frozen=True)
class Answered:
    """A run's model and its answers for one split, with every subset of the inputs.

    Attributes:
        opened: The model.
        task: The run's data as it is now, its truth as the model numbers it.
        split: The split.
        answers: The outputs for its rows.
        shares: What each input contributes to the run's metric.
        notes: Why a reader should take care.
    """

    opened: OpenedModel
    task: TaskData
    split: str
    answers: SubsetAnswers
    shares: Shares
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> Rows:
        """``(N,)`` row numbers of the split."""
        return self.task.splits[self.split]

    def judge(self) -> list[ChosenRow]:
        """Return every row of the split as it would be explained."""
        outputs = self.answers.answers[max(self.answers.answers, key=len)].outputs
        return judge_rows(outputs, self.answers.values, self.task.target, self.rows)


def answer_split(
    directory: RunDirectory,
    typed: Mapping[str, Any],
    split: str,
    allow: Sequence[str] = (),
    device: str | None = None,
) -> Answered:
    """Return a run's answers for a split, with every subset of the inputs.

    Raises:
        MmxError: The run cannot be opened, its data cannot be read, or it answers nothing.
    """
    opened = open_model(directory, typed, allow, device=device)
    experiment, trained = opened.experiment, opened.trained
    if experiment.role(Role.TARGET).objective.label_free:
        raise UsageError(
            f"{directory.path} learns without labels: it gives no answer that could be explained",
            tip=f"mmx eval {directory.path}",
        )
    task = experiment.target.load()
    note = ""
    if directory.manifest().data.get(Role.TARGET) != task.fingerprint:
        note = (
            f"the data of target={experiment.target.name} is not what the run was trained on: "
            "these are explanations of other data"
        )
    rows = task.splits[split]
    if not len(rows):
        raise UsageError(f"the split {split} has no rows", tip=f"mmx explain {directory.path}")
    name = f"target={experiment.target.name}"
    task = number_as_trained(task, trained.target, rows, name)
    data = open_trained(experiment, trained, _keep_rows(task, rows), opened.precision)
    task, missed = keep_known_training_rows(task)
    known = task.values[task.splits["train"]]
    prior = compute_prior(trained.target.standardize(known), trained.target)
    data = data.unlock_test()
    answers = predict_subsets(trained.model, data, rows, opened.precision, prior)
    shares, other = _measure_shares(answers, rows, task.target, experiment.metric)
    notes = tuple(each for each in (note, missed, other) if each)
    return Answered(opened, task, split, answers, shares, notes)


def _measure_shares(
    answers: SubsetAnswers, rows: Rows, target: Target, metric: Metric | None
) -> tuple[Shares, str]:
    """Return the inputs' shares of the chosen metric, or of the usual one and why."""
    try:
        return measure_shares(answers, rows, target, metric), ""
    except DataError as error:
        if metric is None:
            raise
        shares = measure_shares(answers, rows, target)
        return shares, f"{error.message}: shares are of {shares.metric}"


def explain_rows(
    answered: Answered, chosen: Sequence[ChosenRow], methods: Mapping[str, Method]
) -> list[ExplainedRow]:
    """Return the explanations of some rows of the answered split."""
    data = _open_inputs(answered, [each.row for each in chosen])
    found = []
    for each in chosen:
        shares, empty, full = measure_row_shares(
            answered.answers, each.place, each.output, answered.task.target
        )
        inputs = explain_inputs(answered.opened.trained.model, data, each, methods)
        found.append(ExplainedRow(each, inputs, shares, empty, full))
    return found


def _open_inputs(answered: Answered, rows: Collection[int]) -> Data:
    """Return the data of some rows with their inputs, also where an encoder is frozen."""
    opened = answered.opened
    experiment = opened.experiment
    task = _keep_rows(answered.task, np.array(sorted(rows), dtype=np.int64))
    modalities = experiment.modalities[Role.TARGET]
    data = decode_task(experiment, task, modalities, opened.trained.specs, opened.precision)
    data.resident = True  # a few rows: no process of its own decodes them
    return data


def _keep_rows(task: TaskData, rows: Rows) -> TaskData:
    """Return the data with these rows as its test split and no others."""
    none = np.zeros(0, dtype=np.int64)
    return replace(task, splits={"train": none, "val": none, "test": rows})


def find_asked(answered: Answered, numbers: Sequence[int], run: Path) -> list[ChosenRow]:
    """Return the rows that were asked for by number, from 1; without any, those worth a look.

    Raises:
        UsageError: A row is not in the split.
    """
    judged = answered.judge()
    if not numbers:
        return choose_rows(judged)
    by_row = {each.row: each for each in judged}
    for number in numbers:
        if number - 1 not in by_row:
            raise _refuse_row(answered, number, run)
    return [by_row[number - 1] for number in dict.fromkeys(numbers)]


def _refuse_row(answered: Answered, number: int, run: Path) -> UsageError:
    """Return why a row cannot be explained, with what to type instead."""
    total = len(answered.task.values)
    for split, rows in answered.task.splits.items():
        if number - 1 in rows:
            return UsageError(
                f"row {number} is in the split {split}, not in {answered.split}",
                tip=f"mmx explain {run} {number} split={split}",
            )
    why = f"the data has {total} rows" if not 0 < number <= total else "it is in no split"
    first = int(answered.rows[0]) + 1
    return UsageError(
        f"there is no row {number} in the split {answered.split}: {why}",
        tip=f"mmx explain {run} {first}   (the first row of {answered.split})",
    )


def find_output(name: str, answered: Answered, run: Path) -> int:
    """Return the output of a class or label.

    Raises:
        UsageError: There is no such class.
    """
    names = answered.task.target.classes
    if name in names:
        return names.index(name)
    if not names:
        raise UsageError(
            f"--class {name}: the run predicts a number, which has no classes",
            tip=f"mmx explain {run}",
        )
    near = closest(name, names) or names[0]
    raise UsageError(
        f"--class {name}: there is no such class; accepted: {', '.join(names)}",
        tip=f"mmx explain {run} --class {near}",
    )


def find_methods(names: Sequence[str], run: Path) -> dict[str, Method]:
    """Return methods by name; without names, all of them.

    Raises:
        UsageError: There is no such method.
    """
    for name in names:
        if name not in METHODS:
            near = closest(name, METHODS) or next(iter(METHODS))
            raise UsageError(
                f"--method {name}: there is no such method; accepted: {', '.join(METHODS)}",
                tip=f"mmx explain {run} --method {near}",
            )
    chosen = names or list(METHODS)
    return {name: METHODS[name]() for name in METHODS if name in chosen}


def refuse_unused(rows: Sequence[ExplainedRow], asked: Sequence[str], run: Path) -> None:
    """Refuse a method that was asked for and fits no input.

    Raises:
        UsageError: There is one.
    """
    for method, reasons in list_unused(rows, asked).items():
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise UsageError(
            f"--method {method} fits no input of this run: {why}", tip=f"mmx explain {run}"
        )
