"""The evaluation at the end of a run: the test split is opened once, and the summary is made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mmx.evaluation.alignment import measure_alignment
from mmx.evaluation.chance import Chance
from mmx.evaluation.cost import measure_cost
from mmx.evaluation.every_metric import measure_every, measure_labels
from mmx.evaluation.faster import compare_speed
from mmx.evaluation.gain_intervals import LEVEL, bonferroni_level, find_sample_interval
from mmx.evaluation.mcnemar import Discordant
from mmx.evaluation.metric_chance import find_metric_chance
from mmx.evaluation.metrics import measure
from mmx.evaluation.per_class import report_classes
from mmx.evaluation.predict import predict, predict_encoded
from mmx.evaluation.sample_metric import SampleScores, score_samples
from mmx.evaluation.verdict import Gain
from mmx.experiment import Experiment
from mmx.experiment.task_names import find_source_name, find_target_name
from mmx.json_object import Json
from mmx.metrics import Answers, Metric
from mmx.runs import sample_scores
from mmx.runs.search_record import SearchEnd
from mmx.runs.summary import (
    FORMAT,
    CaughtUp,
    ChanceResult,
    ChosenMetric,
    ClassTable,
    ControlResult,
    Cost,
    DataCard,
    RegularizerFacts,
    SourceResult,
    StatedGain,
    Summary,
    TargetResult,
    TestedFold,
    Timing,
    TransferFacts,
)
from mmx.stage_id import Role
from mmx.stages.core.context import Context, Trained
from mmx.stages.phases.wise_ft import describe_tested_line
from mmx.stages.pipeline.calibrated import describe_calibration
from mmx.stages.pipeline.controls.base import TrainedControl
from mmx.stages.pipeline.parameter_counts import count_parameters
from mmx.tasks import TaskData
from mmx.tasks.folds import Fold
from mmx.training.data import Rows
from mmx.training.encode import encode_rows


@dataclass(frozen=True)
class Known:
    """What the summary of a run contains besides its trained models.

    Attributes:
        notes: Notes for the reader.
        data: Role to the fingerprint of its data.
        cards: Role to what its task read.
        search: The result of its search; None if it had none.
        seconds: Returns the seconds since the run began.
    """

    notes: Sequence[str]
    data: dict[str, str]
    cards: dict[str, DataCard]
    search: SearchEnd | None
    seconds: Callable[[], float]


def evaluate(
    context: Context,
    task: TaskData,
    source: Trained | None,
    target: Trained,
    controls: Sequence[TrainedControl],
    known: Known,
) -> Summary:
    """Open the test split, and return the summary of a run."""
    experiment = context.experiment
    tested = _measure_test(context, target, task)
    data = target.data.unlock_test()
    used = measure_cost(target.model, data, data.rows("test"), context.precision)
    params = count_parameters(target.model)
    transfer = _transfer_facts(context, target, task, known.search)
    source_result = _source_result(context, source, target)
    least = _find_chance(experiment, task, tested)
    compared = _compare(context, target, task, tested, controls, least)
    search, fold = known.search, experiment.target.tested_fold
    summary = Summary(
        run=context.directory.path.name,
        format=FORMAT,
        status="done",
        source=source_result,
        target=_target_result(context, target, task, tested, least),
        fusion=experiment.find_name("fusion"),
        seed=experiment.settings.seed,
        device=str(context.precision.device),
        precision=context.precision.name,
        params=params,
        cost=Cost(flops_per_sample=used["flops_per_sample"]),
        transfer=transfer,
        notes=[*(search.notes if search else ()), *compared.pop("notes", ()), *known.notes],
        **compared,
        data=known.data,
        data_cards=known.cards,
        timing=_make_timing(source, target, controls, known, used["seconds_per_sample"]),
    )
    return summary if fold is None else summary.model_copy(update={"fold": _describe_fold(fold)})


def describe_data(task: TaskData, inputs: Container[str]) -> DataCard:
    """Return how many rows a task has, and how many of them have each of these inputs."""
    used = np.concatenate([np.asarray(rows) for rows in task.splits.values()])
    read = {name: each[used] for name, each in task.digests.items() if name in inputs}
    return DataCard(
        rows={split: len(rows) for split, rows in task.splits.items()},
        inputs={name: int((each != 0).sum()) for name, each in read.items()},
        kind=task.target.kind,
        outputs=task.target.outputs,
    )


def _describe_fold(fold: Fold) -> TestedFold:
    return TestedFold(number=fold.number, count=fold.count, repeat=fold.repeat)


Tested = tuple[dict[str, float], Tensor, Tensor]
"""Metrics of the test rows, the outputs ``(N, C)`` and the targets."""


def _source_result(context: Context, source: Trained | None, target: Trained) -> SourceResult:
    """Return the validation metrics of the source, trained before or jointly with the target."""
    experiment = context.experiment
    task = find_source_name(experiment)
    joint = _validate_joint(context, target)
    val = joint if joint is not None else source.fitted.val if source else None
    return SourceResult(task=task) if val is None else SourceResult(task=task, metrics={"val": val})


def _target_result(
    context: Context, target: Trained, task: TaskData, tested: Tested, least: Chance | None
) -> TargetResult:
    """Return the target's result on the test rows."""
    experiment = context.experiment
    metrics, outputs, values = tested
    more: Json = {}
    if task.target.kind == "classes" and outputs.shape[1]:
        more["classes"] = ClassTable.from_json(report_classes(outputs, values, task.target))
    if least is not None:
        more["chance"] = ChanceResult.of(least)
    if outputs.shape[1]:
        more["every_metric"] = measure_every(outputs, values, task.target, experiment.metric)
    if labels := measure_labels(outputs, values, task.target):
        more["labels"] = labels
    if (chosen := experiment.metric) is not None:
        more["metric"] = ChosenMetric(name=chosen.name, lower_is_better=chosen.lower_is_better)
    if (calibrated := describe_calibration(context, target, task)) is not None:
        more["calibration"] = calibrated
    return TargetResult(
        task=find_target_name(experiment),
        metrics={"val": target.fitted.val, "test": metrics},
        best_epoch=target.fitted.best_epoch,
        steps=target.fitted.steps,
        **more,
    )


def _find_chance(experiment: Experiment, task: TaskData, tested: Tested) -> Chance | None:
    """Return the chance of the test rows in the metric of the gain; None without classes."""
    _, outputs, values = tested
    if not outputs.shape[1]:
        return None
    rows = np.arange(len(values))
    scores = score_samples(outputs, values, task.target, rows, experiment.metric)
    return find_metric_chance(values, task.target, scores)


def _transfer_facts(
    context: Context, target: Trained, task: TaskData, search: SearchEnd | None
) -> TransferFacts:
    """Return where the target's tensors came from, and what was chosen during training."""
    experiment, fitted, report = context.experiment, target.fitted, target.report
    there: Json = {
        "regularizer": _describe_regularizer(experiment),
        "wise_ft": describe_tested_line(context, target, task.target),
        "weights": fitted.weights,
        "grid": fitted.grid,
        "density": report.density,
        "auto": search.facts if search else None,
    }
    found = {name: each for name, each in there.items() if each}  # no empty entries in the file
    mode = experiment.find_name("transfer")
    return TransferFacts.from_json({"mode": mode, **report.counts(), **found})


def _make_timing(
    source: Trained | None,
    target: Trained,
    controls: Sequence[TrainedControl],
    known: Known,
    seconds_per_sample: float,
) -> Timing:
    """Return the seconds of each part; the total is read last, to include everything."""
    more: Json = {}
    if controls:
        more["control_s"] = round(sum(control.seconds for control in controls), 3)
        more["controls_s"] = {control.name: round(control.seconds, 3) for control in controls}
    cached = source is not None and source.cached
    if known.search is not None:
        more["search_s"], cached = known.search.seconds, known.search.source_cached
    return Timing(
        source_s=round(source.fitted.seconds, 3) if source else 0.0,
        source_cached=cached,
        target_s=round(target.fitted.seconds, 3),
        train_samples_per_s=round(target.fitted.samples_per_s, 1),
        seconds_per_sample=seconds_per_sample,
        **more,
        total_s=round(known.seconds(), 3),
    )


def _compare(
    context: Context,
    target: Trained,
    task: TaskData,
    tested: Tested,
    controls: Sequence[TrainedControl],
    least: Chance | None,
) -> Json:
    """Return the entries of the summary on the controls, and write the scores of all test rows.

    Empty for a model without outputs, which has no score for a single row.
    """
    metrics, outputs, values = tested
    if not outputs.shape[1]:
        return {}
    rows = target.data.unlock_test().rows("test")
    metric = context.experiment.metric
    ours = score_samples(outputs, values, task.target, rows, metric)
    compared = [_measure_control(each, task, values, rows, metric) for each in controls]
    theirs = {each.control.name: each.scores for each in compared}
    sample_scores.write_scores(
        context.directory, ours, theirs, _digest_contents(task, values, rows)
    )
    found = _make_gains(target, metrics, ours, compared, least)
    if metric is not None:
        why = metric.explain_undefined(Answers.of(outputs, values, task.target))
        undefined = [f"{metric.name} is undefined on the {len(rows)} test rows: {why}"]
        found["notes"] = [*(undefined if why else []), *found.get("notes", ())]
    return found


def _digest_contents(task: TaskData, values: Tensor, rows: Rows) -> dict[str, str]:
    """Return digests of the test rows, which show whether another run has the same ones."""

    def digest(array: npt.NDArray[Any]) -> str:
        return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()

    found = {name: digest(each[rows]) for name, each in task.digests.items()}
    # Numbers are standardised by the training rows, which may differ: their scores hold them.
    labels = {} if task.target.kind == "regression" else {"labels": digest(values.numpy())}
    return {**found, **labels}


@dataclass(frozen=True)
class _Compared:
    """A control on the test split."""

    control: TrainedControl
    test: dict[str, float]
    scores: SampleScores


def _measure_control(
    control: TrainedControl, task: TaskData, values: Tensor, rows: Rows, metric: Metric | None
) -> _Compared:
    outputs = control.answers(rows)
    test = measure(outputs, values, task.target, control.criterion.task_loss, metric)
    return _Compared(control, test, score_samples(outputs, values, task.target, rows, metric))


def _make_gains(
    target: Trained,
    metrics: dict[str, float],
    ours: SampleScores,
    compared: Sequence[_Compared],
    least: Chance | None,
) -> Json:
    """Return the controls' metrics, the gain over each, and over the first that was trained."""
    if not compared:
        return {}
    first = next((each for each in compared if each.control.is_trained), compared[0])
    gain = _make_gain(metrics, ours, first, LEVEL, least)
    return {
        "notes": []
        if least is None or gain.learned
        else [_note_chance(gain, metrics, first, least)],
        "control": {
            each.control.name: ControlResult(
                metrics={"val": each.control.val, "test": each.test}, **each.control.facts
            )
            for each in compared
        },
        "gain": StatedGain(
            metric=gain.metric,
            value=gain.value,
            interval=_as_list(gain.interval),
            control=gain.control,
            learned=gain.learned,
            verdict=gain.verdict,
            **_state_direction(ours),
        ),
        "gains": _state_gains(metrics, ours, compared, least),
        "faster": _find_faster(target, ours, first),
    }


def _state_gains(
    metrics: dict[str, float],
    ours: SampleScores,
    compared: Sequence[_Compared],
    least: Chance | None,
) -> dict[str, StatedGain]:
    """Return the gain over each control, with intervals that hold together."""
    level, found = bonferroni_level(len(compared)), {}
    for other in compared:
        gain = _make_gain(metrics, ours, other, level, least)
        found[other.control.name] = StatedGain(
            metric=gain.metric,
            value=gain.value,
            interval=_as_list(gain.interval),
            level=level,
            correction="none" if len(compared) == 1 else f"Bonferroni over {len(compared)}",
            verdict=gain.verdict,
            **_state_direction(ours),
            **_count_discordant(ours, other.scores),
        )
    return found


def _find_faster(target: Trained, ours: SampleScores, first: _Compared) -> CaughtUp | None:
    """Return when the target was as good as a control at its end; None where it never was."""
    fitted = target.fitted
    # A head that was fitted in closed form has no epochs: its curve is a single point.
    once = ours.form.sign * fitted.val[ours.metric]
    epochs = fitted.history or [(fitted.steps, fitted.seconds, once)]
    theirs = first.control.history or ()
    found = compare_speed(ours.metric, first.control.name, epochs, theirs, ours.form.sign)
    return None if found is None else CaughtUp(**asdict(found))


def _as_list(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _state_direction(scores: SampleScores) -> Json:
    """Return that lower is better, where it is so."""
    return {"lower_is_better": True} if scores.form.lower_is_better else {}


def _count_discordant(ours: SampleScores, theirs: SampleScores) -> Json:
    """Return on how many rows only one of two models is right, and McNemar's p-value."""
    found = Discordant.of(ours, theirs)
    if found is None:
        return {}
    return {"better_rows": found.first, "worse_rows": found.second, "mcnemar_p": found.p}


def _make_gain(
    metrics: dict[str, float],
    ours: SampleScores,
    other: _Compared,
    level: float,
    least: Chance | None,
) -> Gain:
    one, two = metrics[ours.metric], other.test[ours.metric]
    interval = find_sample_interval((ours, other.scores), level=level)
    # The majority control is at chance level: a comparison with it is always meaningful.
    learned = (
        least is None
        or least.is_beaten_by(metrics[least.metric])
        or least.is_beaten_by(other.test[least.metric])
        or other.control.stands_for_chance
    )
    value = ours.form.sign * (one - two)
    return Gain(ours.metric, value, interval, other.control.name, learned)


def _note_chance(gain: Gain, metrics: dict[str, float], other: _Compared, least: Chance) -> str:
    """Return the note that neither model has learned anything, so that no answer is possible."""
    ours, theirs = metrics[gain.metric], other.test[gain.metric]
    what = "this says nothing about transfer" if gain.transfers else "their difference says nothing"
    one_answer = (
        f"always saying the most frequent class ({least.accuracy:.3f} of {least.samples:,} test "
        "samples)"
    )
    if least.value is not None:
        one_answer = (
            f"one answer for all {least.samples:,} test samples ({least.value:.3f}, with their "
            f"noise {least.bound:.3f})"
        )
    return (
        f"neither the target ({gain.metric} {ours:.3f}) nor its {gain.control} control "
        f"({theirs:.3f}) does better than {one_answer}: {what}"
    )


def _measure_test(context: Context, trained: Trained, task: TaskData) -> Tested:
    data, precision = trained.data.unlock_test(), context.precision
    rows = data.rows("test")
    if context.experiment.role(Role.TARGET).objective.label_free:
        outputs, values, encoded = predict_encoded(trained.model, data, rows, precision)
        return measure_alignment(trained.criterion, encoded), outputs, values
    outputs, values = predict(trained.model, data, rows, precision)
    loss_of, metric = trained.criterion.task_loss, context.experiment.metric
    return measure(outputs, values, task.target, loss_of, metric), outputs, values


def _validate_joint(context: Context, target: Trained) -> dict[str, float] | None:
    """Return the validation metrics of the source in joint training, at the kept epoch."""
    if target.joint is None:
        return None
    joint, data = target.joint, target.joint.data
    if context.experiment.role(Role.SOURCE).objective.label_free:
        rows = encode_rows(joint.model, data, data.rows("val"), context.precision)
        return measure_alignment(joint.criterion, rows)
    outputs, values = predict(joint.model, data, data.rows("val"), context.precision)
    return measure(outputs, values, joint.target, joint.criterion.task_loss)


def _describe_regularizer(experiment: Experiment) -> RegularizerFacts | None:
    """Return the name of a run's regulariser and its options; None if it has none."""
    node = experiment.config.get("regularizer")
    if not node:
        return None
    options = {key: value for key, value in node.items() if not key.startswith("_")}
    name = experiment.find_name("regularizer")
    return RegularizerFacts.from_json({"name": name, **options})
