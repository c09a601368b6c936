"""The end of a run: the test split is opened, once, and what came out is written down."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from mmx.evaluation.alignment import alignment
from mmx.evaluation.chance import Chance, chance
from mmx.evaluation.classes import class_report
from mmx.evaluation.cost import cost
from mmx.evaluation.faster import faster
from mmx.evaluation.gain import Gain
from mmx.evaluation.mcnemar import Discordant
from mmx.evaluation.metrics import measure
from mmx.evaluation.paired import LEVEL, over_samples, simultaneous
from mmx.evaluation.predict import predict, predict_encoded
from mmx.evaluation.sample_metric import Scores, scored
from mmx.experiment import Experiment
from mmx.model import MultimodalModel
from mmx.runs import sample_scores
from mmx.stage_id import Role
from mmx.stages.core.context import Context, Trained
from mmx.stages.core.reload import OF_TRAINING
from mmx.stages.phases.wise_ft import curve
from mmx.stages.pipeline.controls import Control
from mmx.tasks import TaskData
from mmx.training.data import Rows
from mmx.training.encode import encode_rows


def evaluate(
    context: Context,
    task: TaskData,
    source: Trained | None,
    target: Trained,
    controls: Sequence[Control],
) -> dict[str, Any]:
    """Return the summary of a run."""
    experiment = context.experiment
    metrics, outputs, values = _test(context, target, task)
    data = target.data.unlocked()
    used = cost(target.model, data, data.rows("test"), context.precision)
    summary: dict[str, Any] = {
        "status": "done",
        "source": {
            "task": experiment.source.name if experiment.source else "none",
            **({"metrics": {"val": source.fitted.val}} if source else {}),
            **_companion(context, target),
        },
        "target": {
            "task": experiment.target.name,
            "metrics": {"val": target.fitted.val, "test": metrics},
            "best_epoch": target.fitted.best_epoch,
            "steps": target.fitted.steps,
        },
        "fusion": experiment.name_of("fusion"),
        "seed": experiment.settings.seed,
        "device": str(context.precision.device),
        "precision": context.precision.name,
        "params": parameters(target.model),
        "cost": {"flops_per_sample": used["flops_per_sample"]},
        "transfer": {
            "mode": experiment.name_of("transfer"),
            **_regularizer(experiment),
            **target.report.counts(),
            **curve(context, target, task.target),
            **({"weights": target.fitted.weights} if target.fitted.weights else {}),
            **({"grid": target.fitted.grid} if target.fitted.grid else {}),
            **({"density": target.report.density} if target.report.density else {}),
        },
        "timing": {
            "source_s": round(source.fitted.seconds, 3) if source else 0.0,
            "source_cached": source is not None and source.cached,
            "target_s": round(target.fitted.seconds, 3),
            "train_samples_per_s": round(target.fitted.samples_per_s, 1),
            "seconds_per_sample": used["seconds_per_sample"],
        },
    }
    if task.target.kind == "classes" and outputs.shape[1]:
        summary["target"]["classes"] = class_report(outputs, values, task.target)
    if outputs.shape[1]:
        rows = target.data.unlocked().rows("test")
        ours = scored(outputs, values, task.target, rows)
        least = chance(values, task.target)
        if least is not None:
            summary["target"]["chance"] = asdict(least)
        compared = [_compared(each, task, values, rows) for each in controls]
        theirs = {each.control.name: each.scores for each in compared}
        sample_scores.write(context.directory, ours, theirs, _contents(task, values, rows))
        summary.update(_against(target, metrics, ours, compared, least))
    if controls:
        each = {control.name: round(control.seconds, 3) for control in controls}
        summary["timing"]["control_s"] = round(sum(control.seconds for control in controls), 3)
        summary["timing"]["controls_s"] = each
    return summary


def _contents(task: TaskData, values: Tensor, rows: Rows) -> dict[str, str]:
    """Return digests of the test rows, by which another run's are known to be the same."""

    def digest(array: npt.NDArray[Any]) -> str:
        return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()

    found = {name: digest(each[rows]) for name, each in task.digests.items()}
    # Numbers are standardised by the training rows, which may differ: their scores hold them.
    labels = {} if task.target.kind == "regression" else {"labels": digest(values.numpy())}
    return {**found, **labels}


@dataclass(frozen=True)
class _Compared:
    """A control on the test split."""

    control: Control
    test: dict[str, float]
    scores: Scores


def _compared(control: Control, task: TaskData, values: Tensor, rows: Rows) -> _Compared:
    outputs = control.answers(rows)
    test = measure(outputs, values, task.target, control.criterion.task_loss)
    return _Compared(control, test, scored(outputs, values, task.target, rows))


def _against(
    target: Trained,
    metrics: dict[str, float],
    ours: Scores,
    compared: Sequence[_Compared],
    least: Chance | None,
) -> dict[str, Any]:
    """Return the controls' metrics, the gain over each, and over the first that was trained."""
    if not compared:
        return {}
    first = next((each for each in compared if each.control.trained), compared[0])
    gain = _gain(metrics, ours, first, LEVEL, least)
    level = simultaneous(len(compared))
    gains = {each.control.name: _gain(metrics, ours, each, level, least) for each in compared}
    theirs = {each.control.name: each.scores for each in compared}
    fitted = target.fitted
    # A head that was fitted at once has no epochs: it was there after all it took.
    epochs = fitted.history or [(fitted.steps, fitted.seconds, fitted.val[ours.metric])]
    found = faster(ours.metric, first.control.name, epochs, first.control.history or ())
    return {
        "notes": [] if least is None or gain.learned else [_at_chance(gain, metrics, first, least)],
        "control": {
            each.control.name: {
                "metrics": {"val": each.control.val, "test": each.test},
                **each.control.facts,
            }
            for each in compared
        },
        "gain": {**asdict(gain), "verdict": gain.verdict},
        "gains": {
            name: {
                "metric": each.metric,
                "value": each.value,
                "interval": each.interval,
                "level": level,
                "correction": "none" if len(gains) == 1 else f"Bonferroni over {len(gains)}",
                "verdict": each.verdict,
                **_rows(ours, theirs[name]),
            }
            for name, each in gains.items()
        },
        "faster": None if found is None else asdict(found),
    }


def _rows(ours: Scores, theirs: Scores) -> dict[str, Any]:
    """Return on how many rows only one of two models is right, and whether that may be chance."""
    found = Discordant.of(ours, theirs)
    if found is None:
        return {}
    return {"better_rows": found.first, "worse_rows": found.second, "mcnemar_p": found.p}


def _gain(
    metrics: dict[str, float], ours: Scores, other: _Compared, level: float, least: Chance | None
) -> Gain:
    one, two = metrics[ours.metric], other.test[ours.metric]
    interval = over_samples((ours, other.scores), level=level)
    # The majority control is chance itself: whether the target beats it is an answer.
    learned = least is None or least.beaten(one) or least.beaten(two) or not other.control.trained
    return Gain(ours.metric, one - two, interval, other.control.name, learned)


def _at_chance(gain: Gain, metrics: dict[str, float], other: _Compared, least: Chance) -> str:
    """Return the note that nothing was learned, and so nothing can be said."""
    ours, theirs = metrics[gain.metric], other.test[gain.metric]
    what = "this says nothing about transfer" if gain.transfers else "their difference says nothing"
    return (
        f"neither the target ({gain.metric} {ours:.3f}) nor its {gain.control} control "
        f"({theirs:.3f}) does better than always saying the most frequent class "
        f"({least.accuracy:.3f} of {least.samples:,} test samples): {what}"
    )


def _test(
    context: Context, trained: Trained, task: TaskData
) -> tuple[dict[str, float], Tensor, Tensor]:
    data, precision = trained.data.unlocked(), context.precision
    rows = data.rows("test")
    if context.experiment.role(Role.TARGET).objective.label_free:
        outputs, values, encoded = predict_encoded(trained.model, data, rows, precision)
        return alignment(trained.criterion, encoded), outputs, values
    outputs, values = predict(trained.model, data, rows, precision)
    metrics = measure(outputs, values, task.target, trained.criterion.task_loss)
    return metrics, outputs, values


def _companion(context: Context, target: Trained) -> dict[str, Any]:
    """Return the validation metrics of the task that trained along, at the kept epoch."""
    if target.companion is None:
        return {}
    beside, data = target.companion, target.companion.data
    if context.experiment.role(Role.SOURCE).objective.label_free:
        rows = encode_rows(beside.model, data, data.rows("val"), context.precision)
        return {"metrics": {"val": alignment(beside.criterion, rows)}}
    outputs, values = predict(beside.model, data, data.rows("val"), context.precision)
    found = measure(outputs, values, beside.target, beside.criterion.task_loss)
    return {"metrics": {"val": found}}


def parameters(model: MultimodalModel) -> dict[str, int]:
    """Return how many parameters a model has, trains, and shares.

    ``shared`` counts those that serve several modalities, or another task as well.
    """
    own = [p for n, p in model.named_parameters() if not n.startswith(OF_TRAINING)]
    several: set[int] = set()
    if model.companion is not None:
        several |= _ids(model.companion.parameters())
    if model.trunk is not None and model.trunk.one and len(model.encoders) > 1:
        several |= _ids(model.trunk.layers.parameters())
    if isinstance(heads := getattr(model.fusion, "heads", None), nn.ModuleDict):
        used = [_ids(head.parameters()) for head in heads.values()]
        several |= used[0] if len(used) > 1 and used[0] == used[1] else set()
    return {
        "total": sum(p.numel() for p in own),
        "trainable": sum(p.numel() for p in own if p.requires_grad),
        "fusion": sum(p.numel() for p in [*model.fusion.parameters(), *model.head.parameters()]),
        "shared": sum(p.numel() for p in own if id(p) in several),
    }


def _ids(parameters: Iterable[nn.Parameter]) -> set[int]:
    return {id(parameter) for parameter in parameters}


def _regularizer(experiment: Experiment) -> dict[str, Any]:
    """Return the name of a run's regulariser and its options; nothing where it has none."""
    node = experiment.config.get("regularizer")
    if not node:
        return {}
    options = {key: value for key, value in node.items() if not key.startswith("_")}
    return {"regularizer": {"name": experiment.name_of("regularizer"), **options}}
