"""The end of a run: the test split is opened, once, and what came out is written down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from mmx.evaluation.alignment import alignment
from mmx.evaluation.classes import class_report
from mmx.evaluation.cost import cost
from mmx.evaluation.gain import Gain, paired_interval
from mmx.evaluation.metrics import PRIMARY, RETRIEVAL, correct, measure
from mmx.evaluation.predict import predict, predict_encoded
from mmx.model import MultimodalModel
from mmx.stages.context import Context, Trained
from mmx.tasks import TaskData
from mmx.training.encode import encode_rows


def evaluate(
    context: Context,
    task: TaskData,
    source: Trained | None,
    target: Trained,
    control: Trained | None,
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
        "fusion": name_of(experiment.config["fusion"]),
        "seed": experiment.settings.seed,
        "device": str(context.precision.device),
        "precision": context.precision.name,
        "params": parameters(target.model),
        "cost": {"flops_per_sample": used["flops_per_sample"]},
        "transfer": {
            "mode": "joint" if experiment.joint else name_of(experiment.config["transfer"]),
            **target.report.counts(),
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
    if control is not None:
        summary.update(_against(context, task, control, metrics, outputs, values))
        summary["timing"]["control_s"] = round(control.fitted.seconds, 3)
    return summary


def _against(
    context: Context,
    task: TaskData,
    control: Trained,
    metrics: dict[str, float],
    outputs: Tensor,
    values: Tensor,
) -> dict[str, Any]:
    """Return the control's metrics and the gain over it."""
    found, control_outputs, _ = _test(context, control, task)
    kind, interval = task.target.kind, None
    name = PRIMARY[kind if outputs.shape[1] else RETRIEVAL]
    if kind == "classes" and outputs.shape[1]:
        interval = paired_interval(correct(outputs, values), correct(control_outputs, values))
    gain = Gain(name, metrics[name] - found[name], interval)
    return {
        "control": {"scratch": {"metrics": {"val": control.fitted.val, "test": found}}},
        "gain": {**asdict(gain), "verdict": gain.verdict},
    }


def _test(
    context: Context, trained: Trained, task: TaskData
) -> tuple[dict[str, float], Tensor, Tensor]:
    data, precision = trained.data.unlocked(), context.precision
    rows = data.rows("test")
    if context.experiment.role("target").objective.label_free:
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
    if context.experiment.role("source").objective.label_free:
        rows = encode_rows(beside.model, data, data.rows("val"), context.precision)
        return {"metrics": {"val": alignment(beside.criterion, rows)}}
    outputs, values = predict(beside.model, data, data.rows("val"), context.precision)
    found = measure(outputs, values, beside.target, beside.criterion.task_loss)
    return {"metrics": {"val": found}}


def parameters(model: MultimodalModel) -> dict[str, int]:
    """Return how many parameters a model has, trains, and shares.

    ``shared`` counts those that serve several modalities, or another task as well.
    """
    own = [p for n, p in model.named_parameters() if not n.startswith(("criterion.", "companion."))]
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


def name_of(node: dict[str, Any]) -> str:
    """Return the module's name of a node's class, which is the variant's name."""
    return str(node["_target_"]).split(".")[-2]
