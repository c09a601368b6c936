"""One stage: draw a model, start it as the transfer says, train it, keep the result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmx.errors import DamagedFileError, DivergedError, Interrupted
from mmx.evaluation.metrics import RETRIEVAL, measure, score
from mmx.evaluation.predict import predict
from mmx.modalities import spec_to_json
from mmx.model import MultimodalModel
from mmx.objectives import Criterion
from mmx.stage_id import Role, StageId
from mmx.stages.core.cache_keys import Inputs, describe_control, describe_source
from mmx.stages.core.cached import cache_features, cache_stage
from mmx.stages.core.cached_checks import restore_on_error
from mmx.stages.core.context import Beside, Context, Opened, Trained
from mmx.stages.core.model import attach_criterion, make_model
from mmx.stages.core.validate import Validator, fit_mapping, fit_missing, moves, prepare_beside
from mmx.stages.phases.fit_head import Bench, find_head
from mmx.stages.phases.joint import companion, join
from mmx.stages.phases.linear_probe import fit_head
from mmx.stages.phases.source_reference import bind_penalty
from mmx.stages.phases.wise_ft import Judge, line_facts, line_tensors, read_line, snapshot, sweep
from mmx.stages.pipeline.larger_batch import differences
from mmx.tasks import Target
from mmx.training import checkpoint, state
from mmx.training.data import Data
from mmx.training.encode import encode_rows
from mmx.training.events import Event, EventKind, Listener
from mmx.training.fit import fit
from mmx.training.loss import BatchLoss
from mmx.training.randomness import seed_torch
from mmx.training.recipe import Fitted, Recipe
from mmx.transfer import Source, Start, Transfer
from mmx.transfer.feature import Feature
from mmx.transfer.freezing import within
from mmx.transfer.regularizers import Penalty

BESIDE = {
    "companion": "the source task",
    "weighting": "the weighting of both tasks",
    "penalty": "the regularizer",
}
"""Part of a model that the target does not answer by to what it belongs to."""


@dataclass(frozen=True)
class Given:
    """A trained source: what the transfer takes of it, and the whole of it."""

    source: Source
    trained: Trained


@dataclass(frozen=True)
class Stage:
    """A stage about to be trained.

    Attributes:
        id: Which one.
        opened: Its task.
        transfer: Where its starting weights come from.
        source: The trained source, where the transfer or its regulariser takes of it.
        beside: Another task to train jointly with; None for none.
    """

    id: StageId
    opened: Opened
    transfer: Transfer
    source: Given | None = None
    beside: Opened | None = None

    @property
    def kept(self) -> bool:
        """Whether other runs may want the same: all but the target, which is what a run is for."""
        return self.id.role is not Role.TARGET


@dataclass(frozen=True)
class Prepared:
    """A stage with its model drawn and started: all that is needed to train it or read it back."""

    model: MultimodalModel
    criterion: Criterion
    data: Data
    start: Start
    beside: Beside | None
    penalty: Penalty | None
    notes: tuple[str, ...]


def train(context: Context, stage: Stage) -> Trained:
    """Train a stage, or read it back where it had been trained before."""
    ready = _prepare(context, stage)
    if (trained := _trained_before(context, stage, ready)) is not None:
        return trained
    if not stage.kept:
        return _keep(context, stage, ready.start, _fit(context, stage, ready, context.listen))

    def make(listen: Listener) -> tuple[dict[str, Tensor], dict[str, Any]]:
        made = _fit(context, stage, ready, listen)
        return made.model.state_dict(), _facts(stage.opened, made, ready.start)

    def describe() -> Inputs:
        if stage.id.role is Role.SOURCE:
            return describe_source(context, stage.opened)
        given = stage.source.source if stage.source else None
        return describe_control(context, stage.opened, stage.transfer, given)

    kept = context.directory.stage_file(stage.id)

    def load(tensors: dict[str, Tensor], facts: dict[str, Any]) -> Trained:
        with restore_on_error(ready.model):
            return _read_back(ready, tensors, facts, kept)

    found, cached = cache_stage(context, stage.id, stage.opened, describe, make, load)
    trained = replace(found, cached=cached)
    context.directory.update_manifest(cached={str(stage.id): cached})  # for a run that is resumed
    return _keep(context, stage, ready.start, trained)


def _trained_before(context: Context, stage: Stage, ready: Prepared) -> Trained | None:
    """Return what this run had found before it was interrupted; None where there is nothing.

    What is damaged is removed and made again.
    """
    kept = context.directory.stage_file(stage.id)
    if not kept.exists():
        return None
    try:
        trained = _read_back(ready, *checkpoint.read(kept), kept)
    except DamagedFileError as error:
        text = f"WARNING: {kept.name} is damaged: {stage.id} is trained again ({error.message})"
        context.note(stage.id, text)
        kept.unlink()
        return None
    state.remove(context.directory.state_file(stage.id))  # it was killed before it did so
    context.note(stage.id, f"{stage.id} had been trained before")
    found = context.directory.manifest().get("cached", {})
    return replace(trained, cached=bool(found.get(str(stage.id))))


def _prepare(context: Context, stage: Stage) -> Prepared:
    """Draw a stage's model, and start it as the transfer says."""
    experiment, opened, given = context.experiment, stage.opened, stage.source
    target = opened.task.target
    seed_torch(experiment.settings.seed, stage.id.task, "weights")
    model = make_model(experiment, stage.id.role, opened.specs, target, stage.transfer)
    criterion = attach_criterion(experiment, stage.id.role, model, opened.data, target)
    start = stage.transfer.start(given.source if given else None, model, target.classes)
    start = within(start, model, experiment.trainer.of(stage.id.role).epochs)
    beside, notes = join(context, model, stage.beside)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in start.frozen)
    model.to(context.precision.device).to(memory_format=torch.channels_last)
    data = opened.data
    for name in sorted(start.frozen_encoders):
        data = cache_features(context, replace(opened, data=data), model, name)
    penalty = None
    if stage.id.role is Role.TARGET and experiment.regularizer is not None:
        start = replace(start, weight_decay=experiment.regularizer.weight_decay)
        trained = given.trained if given else None
        penalty = bind_penalty(context, model, replace(opened, data=data), start, trained)
    notes = (*start.report.notes, *notes)
    return Prepared(model, criterion, data, _accounted(start, model), beside, penalty, notes)


def _accounted(start: Start, model: MultimodalModel) -> Start:
    """Return a start whose report names what was added to the model after it was made.

    Raises:
        RuntimeError: The transfer has left out a tensor of the model itself.
    """
    report = start.report
    known = {*report.copied, *report.adapted, *report.frozen, *report.fresh}
    added = tuple(name for name in model.state_dict() if name not in known)
    if forgotten := [name for name in added if name.split(".")[0] not in BESIDE]:
        raise RuntimeError(f"the transfer's report names no origin of {', '.join(forgotten)}")
    return replace(start, report=replace(report, beside=added))


def _read_back(
    ready: Prepared, tensors: dict[str, Tensor], facts: dict[str, Any], path: Path
) -> Trained:
    """Return a stage's result from what was written of it.

    Raises:
        DamagedFileError: It is not what a stage writes; ``path`` says in messages whose it is.
    """
    try:
        tensors, line = read_line(tensors, facts, ready.data.device)
        fitted, notes = Fitted(**facts["fitted"]), tuple(facts["notes"])
    except (KeyError, TypeError) as error:
        raise DamagedFileError(f"{path} is no result of a stage: {error!r}") from error
    checkpoint.restore(ready.model, tensors, path)
    return Trained(
        ready.model,
        ready.criterion,
        ready.data,
        fitted,
        ready.start.report,
        notes,
        ready.beside,
        line=line,
    )


def _fit(context: Context, stage: Stage, ready: Prepared, listen: Listener) -> Trained:
    """Train a stage's model."""
    experiment, precision = context.experiment, context.precision
    settings, trainer = experiment.settings, experiment.trainer.of(stage.id.role)
    model, data, start, notes = ready.model, ready.data, ready.start, ready.notes
    target = stage.opened.task.target
    _announce(context, stage, start)
    held = start.frozen_encoders
    # A resumed run fits the same again, before its state is loaded: for the notes.
    notes += fit_mapping(context, stage.id, replace(stage.opened, data=data), model, held)
    fit_missing(model, data, precision, settings.seed)
    if ready.beside is not None and stage.beside is not None:
        prepare_beside(context, stage.beside, ready.beside, model)
    if start.probe:
        notes += fit_head(model, data, target, ready.criterion, precision)
    origin = snapshot(model, start.swept)
    _compile(context, model)
    label_free = experiment.role(stage.id.role).objective.label_free
    recipe = Recipe(
        stage=stage.id,
        seed=settings.seed,
        trainer=trainer,
        optimizer=experiment.optimizer,
        precision=precision,
        validate=Validator(
            data,
            target,
            ready.criterion,
            precision,
            moves(model, held),
            settings.seed,
            ready.beside,
        ),
        score=score(RETRIEVAL if label_free else target.kind),
        state_path=context.directory.state_file(stage.id),
        companion=companion(context, model, ready.beside),
    )
    loss = BatchLoss(
        model,
        data,
        ready.criterion,
        precision,
        experiment.balance if stage.id.role is not Role.SOURCE else None,
        trainer.modality_dropout,
        penalty=ready.penalty,
    )
    data.decode()
    if stage.id.role is Role.TARGET:
        notes += differences(experiment, model, start, len(data.rows("train")))
    if isinstance(stage.transfer, Feature) and stage.transfer.head_alone:
        bench = Bench(model, data, target, ready.criterion, recipe)
        fitted, found = find_head(bench, stage.transfer, listen, context.stop)
        notes += found
    else:
        fitted = fit(loss, start, recipe, listen, context.stop)
    if stage.id.role is not Role.SOURCE and model.fusion.settles:
        fitted, settled = _settle(context, ready, target, fitted)
        notes += settled
    line = None
    if start.swept:
        judge = Judge(data, target, ready.criterion, precision, settings.seed)
        fitted, line, found = sweep(model, start, origin, judge, fitted)
        notes += found
    notes += _collapses(fitted)
    return Trained(
        model, ready.criterion, data, fitted, start.report, notes, ready.beside, line=line
    )


def _announce(context: Context, about: Stage, start: Start) -> None:
    """Say where the starting weights come from, and keep the names of all tensors."""
    stage, epochs = about.id, context.experiment.trainer.of(about.id.role).epochs
    text = f"{epochs} {'epoch' if epochs == 1 else 'epochs'}"
    if isinstance(about.transfer, Feature) and about.transfer.fits:
        text = "the head is fitted, without epochs"
    context.listen(Event(EventKind.STAGE, stage, text=text))
    if stage.role is not Role.TARGET:
        return
    context.directory.write_json("transfer.json", asdict(start.report))
    counts = ", ".join(f"{count} {name}" for name, count in start.report.counts().items())
    if start.report.beside:
        parts = {name.split(".")[0] for name in start.report.beside}
        owners = ", ".join(owner for part, owner in BESIDE.items() if part in parts)
        counts += f"; {len(start.report.beside)} more for training alone, of {owners}"
    for text in (f"tensors: {counts} (named in transfer.json)", *start.report.notes):
        context.note(stage, text)


def _compile(context: Context, model: MultimodalModel) -> None:
    if context.experiment.settings.compile:
        for encoder in model.encoders.values():
            encoder.compile(dynamic=True)  # else the sizes met first decide the kernels
        model.fusion.compile(dynamic=True)


def _settle(
    context: Context, ready: Prepared, target: Target, fitted: Fitted
) -> tuple[Fitted, tuple[str, ...]]:
    """Fit what gradients do not, and validate what came out."""
    model, data, precision = ready.model, ready.data, context.precision
    model.eval()
    train_rows = encode_rows(model, data, data.rows("train"), precision, behind="missing")
    val_rows = encode_rows(model, data, data.rows("val"), precision, behind="missing")
    notes = (
        *model.fusion.settle(train_rows, val_rows, context.experiment.settings.seed),
        "validation metrics are of rows that a part of the fusion was fitted on: hopeful",
    )
    found = predict(model, data, data.rows("val"), precision)
    return replace(fitted, val=measure(*found, target, ready.criterion.task_loss)), notes


def _collapses(fitted: Fitted) -> tuple[str, ...]:
    return tuple(
        f"ALARM: {name} collapsed in epoch {epoch}: its encoder's gradient and the accuracy of a "
        "probe on its features fell away; trainer.modality_dropout or "
        "objective=gradient_blending may keep it learning"
        for name, epoch in fitted.collapsed.items()
    )


def _keep(context: Context, stage: Stage, start: Start, trained: Trained) -> Trained:
    """Write a stage's result to the run directory, and say so."""
    fitted = trained.fitted
    if names := checkpoint.not_finite(trained.model.named_parameters()):
        raise DivergedError(
            f"stage {stage.id} ended with weights that are not finite: {names[0]}",
            tip=f"try optimizer.lr={context.experiment.optimizer.lr / 10:g}",
        )
    kept = context.directory.stage_file(stage.id)
    tensors = {**trained.model.state_dict(), **line_tensors(trained.line)}
    checkpoint.write(kept, tensors, _facts(stage.opened, trained, start))
    state.remove(context.directory.state_file(stage.id))
    text = f"best epoch {fitted.best_epoch} of {fitted.epochs}"
    text = text if fitted.epochs else "fitted without a gradient step"
    context.listen(
        Event(EventKind.DONE, stage.id, values=fitted.val, seconds=fitted.seconds, text=text)
    )
    if context.stop.signal_number is not None:
        raise Interrupted(
            f"stopped after stage {stage.id}", signal_number=context.stop.signal_number
        )
    return trained


def _facts(opened: Opened, trained: Trained, start: Start) -> dict[str, Any]:
    """Return what a reader of a stage's checkpoint needs beside its tensors."""
    return {
        "specs": {name: spec_to_json(spec) for name, spec in opened.specs.items()},
        "target": asdict(opened.task.target),
        "fitted": asdict(trained.fitted),
        "frozen_encoders": sorted(start.frozen_encoders),
        "notes": list(trained.notes),
        **line_facts(trained.line),
    }
