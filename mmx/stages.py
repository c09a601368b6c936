"""The stages of a run: source → transfer → target → control → evaluation.

Each is a function from explicit inputs to a result. A stage that has ended is kept in
the run directory and not trained again when the run is resumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mmx.errors import Interrupted, RunError
from mmx.evaluation.gain import Gain, paired_interval
from mmx.evaluation.metrics import PRIMARY, correct, measure, score
from mmx.evaluation.predict import BATCH_SIZE, predict
from mmx.experiment import Experiment, Modalities
from mmx.modalities import Batch, Features, Spec, spec_from_json, spec_to_json
from mmx.model import MultimodalModel
from mmx.runs.directory import RunDirectory
from mmx.tasks import Target, Task, TaskData
from mmx.training import checkpoint
from mmx.training.data import Data, View
from mmx.training.events import Event, Listener, StopRequest
from mmx.training.fit import Fitted, Recipe, fit
from mmx.training.precision import Precision, choose_device
from mmx.training.randomness import make_deterministic, seed_torch
from mmx.transfer import Report, Source, Start, Transfer
from mmx.transfer.scratch import Scratch

Specs = dict[str, Spec]


@dataclass(frozen=True)
class Opened:
    """A task with its data on the device."""

    task: TaskData
    data: Data
    specs: Specs


@dataclass(frozen=True)
class Trained:
    """What one stage gives.

    Attributes:
        model: With its best weights.
        data: What it was trained on; frozen encoders' features are in it.
        fitted: What training found.
        report: Where its starting weights came from.
        loss_of: The bound objective, for evaluation.
    """

    model: MultimodalModel
    data: Data
    fitted: Fitted
    report: Report
    loss_of: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Context:
    """What every stage of a run shares."""

    experiment: Experiment
    directory: RunDirectory
    precision: Precision
    listen: Listener
    stop: StopRequest


def run(
    experiment: Experiment, directory: RunDirectory, listen: Listener, stop: StopRequest
) -> dict[str, Any]:
    """Run an experiment and return its summary; see README for the summary's keys."""
    began = time.perf_counter()
    settings = experiment.settings
    make_deterministic(experiment.trainer.threads)
    device = choose_device(settings.device)
    context = Context(
        experiment, directory, Precision.choose(settings.precision, device), listen, stop
    )
    notes: list[str] = [
        f"{key}: {why}" for key, why in experiment.dropped.items() if key == "source"
    ]
    fingerprints: dict[str, str] = {}
    source_task, source_specs, source = None, Specs(), None
    if experiment.source is not None:
        source_task = _load(context, experiment.source, "source", fingerprints, notes)
        opened = open_task(context, source_task, experiment.modalities["source"], {})
        source_specs = opened.specs
        if experiment.transfer.needs == "weights":
            source = _train(context, "source", opened, Scratch(), None)
    target_task = _load(context, experiment.target, "target", fingerprints, notes)
    if source_task is not None and source is not None:
        notes.extend(_shared_samples(source_task, target_task))
    opened = open_task(context, target_task, experiment.modalities["target"], source_specs)
    given = Source(source.model.state_dict(), _classes(source_task)) if source else None
    target = _train(context, "target", opened, experiment.transfer, given)
    control = None
    if experiment.control:
        if any(spec is source_specs.get(name) for name, spec in opened.specs.items()):
            opened = open_task(context, target_task, experiment.modalities["target"], {})
        control = _train(context, "control", opened, Scratch(), None)
    summary = _evaluate(context, target_task, source, target, control)
    summary["notes"] = [*notes, *target.report.notes]
    summary["data"] = fingerprints
    summary["timing"]["total_s"] = round(time.perf_counter() - began, 3)
    return summary


def _classes(task: TaskData | None) -> tuple[str, ...]:
    return task.target.classes if task is not None else ()


def _load(
    context: Context, task: Task, role: str, fingerprints: dict[str, str], notes: list[str]
) -> TaskData:
    """Open a task's data, and hold it against what the run saw before it was interrupted."""
    context.listen(Event("note", role, text=f"opening {role} {task.name}"))
    loaded = task.load()
    seen = context.directory.manifest().get("data", {}).get(role)
    if seen is not None and seen != loaded.fingerprint:
        raise RunError(
            f"the data of {role}={task.name} has changed since this run began",
            tip="start a new run with mmx reproduce, which says what drifted",
        )
    context.directory.update_manifest(data={role: loaded.fingerprint})
    fingerprints[role] = loaded.fingerprint
    notes.extend(f"{task.name}: {note}" for note in loaded.notes)
    sizes = ", ".join(f"{split} {len(rows)}" for split, rows in loaded.splits.items())
    context.listen(Event("note", role, text=f"{role} {task.name}: {sizes}"))
    return loaded


def _specs_of(task: TaskData, modalities: Modalities, source_specs: Specs) -> Specs:
    """Return what is learned from the training rows, or taken over from the source."""
    specs: Specs = {}
    for name, modality in modalities.items():
        column, given = task.columns[name], source_specs.get(name)
        if given is not None and modality.inherits(column, given):
            specs[name] = given
        else:
            specs[name] = modality.fit(column, task.splits["train"])
    return specs


def open_task(
    context: Context, task: TaskData, modalities: Modalities, source_specs: Specs
) -> Opened:
    """Decode a task's rows onto the device."""
    specs = _specs_of(task, modalities, source_specs)
    data = _data(context.experiment, task, modalities, specs, context.precision)
    return Opened(task, data, specs)


def _data(
    experiment: Experiment,
    task: TaskData,
    modalities: Modalities,
    specs: Specs,
    precision: Precision,
) -> Data:
    return Data(
        {name: View(task.columns[name], modalities[name], specs[name]) for name in modalities},
        task.values,
        task.splits,
        device=precision.device,
        resident=experiment.trainer.resident,
        workers=experiment.trainer.workers,
    )


def _train(
    context: Context, stage: str, opened: Opened, transfer: Transfer, source: Source | None
) -> Trained:
    """Draw a model, start it as the transfer says, train it, and keep the result."""
    experiment, precision = context.experiment, context.precision
    target, settings = opened.task.target, experiment.settings
    draws = "source" if stage == "source" else "target"
    seed_torch(settings.seed, draws, "weights")
    model = MultimodalModel(
        opened.specs,
        {name: experiment.encoders[name] for name in opened.specs},
        experiment.fusion,
        target.outputs,
    )
    start = transfer.start(source, model, target.classes)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in start.frozen)
    model.to(precision.device).to(memory_format=torch.channels_last)
    loss_of = experiment.objective.bind(
        opened.task.values[torch.from_numpy(opened.task.splits["train"])], target.outputs
    )
    data = opened.data
    for name in sorted(start.frozen_encoders):
        data = with_features(data, model, name, precision)
    kept = context.directory.stage_file(stage)
    if kept.exists():
        tensors, facts = checkpoint.read(kept)
        model.load_state_dict(tensors)
        context.listen(Event("note", stage, text=f"{stage} had been trained before"))
        return Trained(model, data, Fitted(**facts["fitted"]), start.report, loss_of)
    _announce(context, stage, start)
    if settings.compile:
        for encoder in model.encoders.values():
            encoder.compile()
        model.fusion.compile()
    recipe = Recipe(
        stage=stage,
        seed=settings.seed,
        draws=draws,
        trainer=experiment.trainer,
        optimizer=experiment.optimizer,
        precision=precision,
        validate=lambda trained: measure(
            *predict(trained, data, data.rows("val"), precision), target, loss_of
        ),
        score=score(target.kind),
        augment=True,
        state_path=context.directory.state_file(stage),
    )
    fitted = fit(model, data, loss_of, start, recipe, context.listen, context.stop)
    checkpoint.write(kept, model.state_dict(), _facts(opened, fitted, start))
    recipe.state_path.unlink(missing_ok=True)
    text = f"best epoch {fitted.best_epoch} of {fitted.epochs}"
    context.listen(Event("done", stage, values=fitted.val, seconds=fitted.seconds, text=text))
    if context.stop.signal_number is not None:
        raise Interrupted(f"stopped after stage {stage}", signal_number=context.stop.signal_number)
    return Trained(model, data, fitted, start.report, loss_of)


def _announce(context: Context, stage: str, start: Start) -> None:
    """Say where the starting weights come from, and keep the names of all tensors."""
    trainer = context.experiment.trainer
    plural = "epoch" if trainer.epochs == 1 else "epochs"
    context.listen(Event("stage", stage, text=f"{trainer.epochs} {plural}"))
    if stage != "target":
        return
    context.directory.write_json("transfer.json", asdict(start.report))
    counts = ", ".join(f"{count} {name}" for name, count in start.report.counts().items())
    for text in (f"tensors: {counts} (named in transfer.json)", *start.report.notes):
        context.listen(Event("note", stage, text=text))


def _facts(opened: Opened, fitted: Fitted, start: Start) -> dict[str, Any]:
    """Return what a reader of a stage's checkpoint needs beside its tensors."""
    return {
        "specs": {name: spec_to_json(spec) for name, spec in opened.specs.items()},
        "target": asdict(opened.task.target),
        "fitted": asdict(fitted),
        "frozen_encoders": sorted(start.frozen_encoders),
    }


def with_features(data: Data, model: MultimodalModel, name: str, precision: Precision) -> Data:
    """Return the data with a frozen encoder's features in place of its inputs."""

    @torch.no_grad()
    def extract(batch: Batch) -> Features:
        with precision.autocast():
            features = model.encode_one(name, batch)
        return features.map(lambda part: part if part.dtype == torch.bool else part.float())

    model.eval()
    return data.with_features(name, extract, BATCH_SIZE)


def _shared_samples(source: TaskData, target: TaskData) -> list[str]:
    """Return a warning where test samples of the target are among the source's training rows."""
    found = []
    for name in sorted(source.digests.keys() & target.digests.keys()):
        trained = set(source.digests[name][source.splits["train"]].tolist()) - {0}
        tested = target.digests[name][target.splits["test"]].tolist()
        count = sum(digest in trained for digest in tested)
        if count:
            found.append(
                f"WARNING: {count} of {len(tested)} test samples of {target.name} have the same "
                f"{name} as training samples of {source.name}: the gain is not to be trusted"
            )
    return found


def _evaluate(
    context: Context,
    task: TaskData,
    source: Trained | None,
    target: Trained,
    control: Trained | None,
) -> dict[str, Any]:
    """Open the test split, once, and write down what came out."""
    experiment, kind = context.experiment, task.target.kind
    metrics, outputs, values = _test(context, target, task)
    parameters = list(target.model.parameters())
    summary: dict[str, Any] = {
        "status": "done",
        "source": {
            "task": experiment.source.name if experiment.source else "none",
            **({"metrics": {"val": source.fitted.val}} if source else {}),
        },
        "target": {
            "task": experiment.target.name,
            "metrics": {"val": target.fitted.val, "test": metrics},
            "best_epoch": target.fitted.best_epoch,
            "steps": target.fitted.steps,
        },
        "fusion": _name(experiment.config["fusion"]),
        "seed": experiment.settings.seed,
        "device": str(context.precision.device),
        "precision": context.precision.name,
        "params": {
            "total": sum(p.numel() for p in parameters),
            "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        },
        "transfer": {"mode": _name(experiment.config["transfer"]), **target.report.counts()},
        "timing": {
            "source_s": round(source.fitted.seconds, 3) if source else 0.0,
            "target_s": round(target.fitted.seconds, 3),
            "train_samples_per_s": round(target.fitted.samples_per_s, 1),
        },
    }
    if control is not None:
        control_metrics, control_outputs, _ = _test(context, control, task)
        summary["control"] = {
            "scratch": {"metrics": {"val": control.fitted.val, "test": control_metrics}}
        }
        summary["timing"]["control_s"] = round(control.fitted.seconds, 3)
        name, interval = PRIMARY[kind], None
        if kind == "classes":
            interval = paired_interval(correct(outputs, values), correct(control_outputs, values))
        gain = Gain(name, metrics[name] - control_metrics[name], interval)
        summary["gain"] = {**asdict(gain), "verdict": gain.verdict}
    return summary


def _test(
    context: Context, trained: Trained, task: TaskData
) -> tuple[dict[str, float], Tensor, Tensor]:
    data = trained.data.unlocked()
    outputs, values = predict(trained.model, data, data.rows("test"), context.precision)
    return measure(outputs, values, task.target, trained.loss_of), outputs, values


def _name(node: dict[str, Any]) -> str:
    """Return the module's name of a node's class, which is the variant's name."""
    return str(node["_target_"]).split(".")[-2]


@dataclass(frozen=True)
class Loaded:
    """The target model of a finished run, read back.

    Attributes:
        model: In evaluation mode, with its best weights.
        specs: Modality to what its encoder knows of its input.
        target: What it predicts.
        frozen_encoders: Modalities whose features were computed once.
    """

    model: MultimodalModel
    specs: Specs
    target: Target
    frozen_encoders: tuple[str, ...]


def load_trained(experiment: Experiment, directory: RunDirectory, device: torch.device) -> Loaded:
    """Return the target model of a finished run.

    Raises:
        RunError: The run has no trained target.
    """
    path = directory.stage_file("target")
    if not path.exists():
        raise RunError(
            f"{directory.path} has no trained target yet", tip=f"mmx resume {directory.path}"
        )
    tensors, facts = checkpoint.read(path)
    specs = {name: spec_from_json(spec) for name, spec in facts["specs"].items()}
    target = Target(**{**facts["target"], "classes": tuple(facts["target"]["classes"])})
    model = MultimodalModel(
        specs,
        {name: experiment.encoders[name] for name in specs},
        experiment.fusion,
        target.outputs,
    )
    model.load_state_dict(tensors)
    model.to(device).to(memory_format=torch.channels_last)
    return Loaded(model.eval(), specs, target, tuple(facts["frozen_encoders"]))


def open_trained(
    experiment: Experiment, trained: Loaded, task: TaskData, precision: Precision
) -> Data:
    """Return a task's data as the trained model reads it."""
    data = _data(experiment, task, experiment.modalities["target"], trained.specs, precision)
    for name in trained.frozen_encoders:
        data = with_features(data, trained.model, name, precision)
    return data
