"""One stage: draw a model, start it as the transfer says, train it, keep the result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mmx.errors import Interrupted
from mmx.evaluation.metrics import RETRIEVAL, measure, score
from mmx.evaluation.predict import predict
from mmx.modalities import spec_to_json
from mmx.model import MultimodalModel
from mmx.objectives import Criterion
from mmx.stages.artifacts import kept_features, kept_source
from mmx.stages.build import attach_criterion, make_model
from mmx.stages.context import Beside, Context, Opened, Trained
from mmx.stages.joint import companion, join
from mmx.stages.validate import Validator, fit_mapping, fit_missing, prepare_beside
from mmx.tasks import Target
from mmx.training import checkpoint
from mmx.training.data import Data
from mmx.training.encode import encode_rows
from mmx.training.events import Event, Listener
from mmx.training.fit import fit
from mmx.training.loss import BatchLoss
from mmx.training.randomness import seed_torch
from mmx.training.recipe import Fitted, Recipe
from mmx.transfer import Source, Start, Transfer


@dataclass(frozen=True)
class Stage:
    """A stage about to be trained.

    Attributes:
        name: source, target or control.
        opened: Its task.
        transfer: Where its starting weights come from.
        source: The trained source, where the transfer takes weights.
        beside: Another task to train jointly with; None for none.
    """

    name: str
    opened: Opened
    transfer: Transfer
    source: Source | None = None
    beside: Opened | None = None

    @property
    def draws(self) -> str:
        """The name its draws depend on; target and control share it."""
        return "source" if self.name == "source" else "target"


@dataclass(frozen=True)
class Prepared:
    """A stage with its model drawn and started: all that is needed to train it or read it back."""

    model: MultimodalModel
    criterion: Criterion
    data: Data
    start: Start
    beside: Beside | None
    notes: tuple[str, ...]


def train(context: Context, stage: Stage) -> Trained:
    """Train a stage, or read it back where it had been trained before."""
    ready = _prepare(context, stage)
    kept = context.directory.stage_file(stage.name)
    if kept.exists():
        tensors, facts = checkpoint.read(kept)
        context.note(stage.name, f"{stage.name} had been trained before")
        return _read_back(ready, tensors, facts)
    if stage.name != "source":
        return _keep(context, stage, ready.start, _fit(context, stage, ready, context.listen))

    def make(listen: Listener) -> tuple[dict[str, Tensor], dict[str, Any]]:
        made = _fit(context, stage, ready, listen)
        return made.model.state_dict(), _facts(stage.opened, made, ready.start)

    tensors, facts, cached = kept_source(context, stage.opened, make)
    trained = replace(_read_back(ready, tensors, facts), cached=cached)
    return _keep(context, stage, ready.start, trained)


def _prepare(context: Context, stage: Stage) -> Prepared:
    """Draw a stage's model, and start it as the transfer says."""
    experiment, opened = context.experiment, stage.opened
    target = opened.task.target
    seed_torch(experiment.settings.seed, stage.draws, "weights")
    model = make_model(experiment, stage.name, opened.specs, target)
    criterion = attach_criterion(experiment, stage.name, model, opened.data, target)
    start = stage.transfer.start(stage.source, model, target.classes)
    beside, notes = join(context, model, stage.beside)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in start.frozen)
    model.to(context.precision.device).to(memory_format=torch.channels_last)
    data = opened.data
    for name in sorted(start.frozen_encoders):
        data = kept_features(context, replace(opened, data=data), model, name)
    return Prepared(model, criterion, data, start, beside, (*start.report.notes, *notes))


def _read_back(ready: Prepared, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Trained:
    """Return a stage's result from what was written of it."""
    ready.model.load_state_dict(tensors)
    return Trained(
        ready.model,
        ready.criterion,
        ready.data,
        Fitted(**facts["fitted"]),
        ready.start.report,
        tuple(facts["notes"]),
        ready.beside,
    )


def _fit(context: Context, stage: Stage, ready: Prepared, listen: Listener) -> Trained:
    """Train a stage's model."""
    experiment, precision = context.experiment, context.precision
    settings = experiment.settings
    model, data, start, notes = ready.model, ready.data, ready.start, ready.notes
    target = stage.opened.task.target
    state = context.directory.state_file(stage.name)
    _announce(context, stage.name, start)
    moves = bool(model.encoders.keys() - start.frozen_encoders) or model.trunk is not None
    # A resumed run fits the same again, before its state is loaded: for the notes.
    notes += fit_mapping(model, data, precision, settings.seed, moves=moves)
    fit_missing(model, data, precision, settings.seed)
    if ready.beside is not None:
        prepare_beside(ready.beside, model, precision, settings.seed)
    _compile(context, model)
    label_free = experiment.role(stage.name).objective.label_free
    recipe = Recipe(
        stage=stage.name,
        seed=settings.seed,
        draws=stage.draws,
        trainer=experiment.trainer,
        optimizer=experiment.optimizer,
        precision=precision,
        validate=Validator(
            data, target, ready.criterion, precision, moves, settings.seed, ready.beside
        ),
        score=score(RETRIEVAL if label_free else target.kind),
        state_path=state,
        companion=companion(context, ready.beside),
    )
    loss = BatchLoss(
        model,
        data,
        ready.criterion,
        precision,
        experiment.balance if stage.name != "source" else None,
        experiment.trainer.modality_dropout,
    )
    data.decode()
    fitted = fit(loss, start, recipe, listen, context.stop)
    if stage.name != "source" and model.fusion.settles:
        fitted, settled = _settle(context, ready, target, fitted)
        notes += settled
    notes += _collapses(fitted)
    return Trained(model, ready.criterion, data, fitted, start.report, notes, ready.beside)


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
    kept = context.directory.stage_file(stage.name)
    checkpoint.write(kept, trained.model.state_dict(), _facts(stage.opened, trained, start))
    context.directory.state_file(stage.name).unlink(missing_ok=True)
    text = f"best epoch {fitted.best_epoch} of {fitted.epochs}"
    context.listen(Event("done", stage.name, values=fitted.val, seconds=fitted.seconds, text=text))
    if context.stop.signal_number is not None:
        raise Interrupted(
            f"stopped after stage {stage.name}", signal_number=context.stop.signal_number
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
    }
