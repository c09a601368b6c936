"""One stage: prepare its model, run its phases, write the result."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from mmx.json_object import Json
from mmx.stage_id import Role
from mmx.stages.core.cache_keys import Inputs, describe_control, describe_source
from mmx.stages.core.cached import cache_stage
from mmx.stages.core.cached_checks import restore_on_error
from mmx.stages.core.context import Context, Trained
from mmx.stages.core.published_tensors import leave_out_published
from mmx.stages.core.stage import PreparedStage, Stage
from mmx.stages.phases.base import StageState, find_runner
from mmx.stages.phases.calibrate import calibrate
from mmx.stages.phases.fit_joint import fit_joint
from mmx.stages.phases.fit_mapping import fit_mapping
from mmx.stages.phases.fit_missing import fit_missing
from mmx.stages.phases.settle import settle
from mmx.stages.pipeline.callbacks import tell_stage_end
from mmx.stages.pipeline.prepare_stage import FOR_TRAINING, prepare_stage
from mmx.stages.pipeline.stage_result import find_result, keep_result, make_facts, read_result
from mmx.training.events import Event, EventKind, Listener
from mmx.training.recipe import FitResult
from mmx.transfer import Start


def train_stage(context: Context, stage: Stage) -> Trained:
    """Train a stage, or read its result if it was trained before."""
    prepared = prepare_stage(context, stage)
    if (trained := find_result(context, stage, prepared)) is not None:
        return trained
    if stage.is_cacheable:
        trained = _load_or_train(context, stage, prepared)
    else:
        trained = _run_phases(context, stage, prepared, context.listen)
    trained = keep_result(context, stage, prepared.start, trained)
    tell_stage_end(context, stage.id, trained)
    return trained


def _load_or_train(context: Context, stage: Stage, prepared: PreparedStage) -> Trained:
    """Return a stage's result from the artifact cache; train it if the cache has none."""

    def make(listen: Listener) -> tuple[dict[str, Tensor], Json]:
        made = _run_phases(context, stage, prepared, listen)
        facts = make_facts(stage.opened, made, prepared.start)
        tensors, facts = leave_out_published(made.model.state_dict(), facts, stage.source)
        return tensors, facts.to_json()

    def describe() -> Inputs:
        if stage.id.role is Role.SOURCE:
            return describe_source(context, stage.opened)
        given = stage.source.source if stage.source else None
        return describe_control(context, stage.opened, stage.transfer, given)

    kept = context.directory.stage_file(stage.id)

    def load(tensors: dict[str, Tensor], facts: Json) -> Trained:
        with restore_on_error(prepared.model):
            return read_result(stage, prepared, tensors, facts, kept)

    trained, cached = cache_stage(context, stage.id, stage.opened, describe, make, load)
    manifest = context.directory.manifest().with_cached(stage.id, cached)
    context.directory.write_manifest(manifest)  # for a run that is resumed
    return replace(trained, cached=cached)


def _run_phases(
    context: Context, stage: Stage, prepared: PreparedStage, listen: Listener
) -> Trained:
    """Train a stage's model: the phases of its transfer, between those of every stage.

    Args:
        context: The run's context.
        stage: The stage that is trained.
        prepared: Its model and data.
        listen: Called with the events of its epochs.
    """
    start, notes = prepared.start, prepared.notes
    _announce(context, stage, start)
    state = StageState(context, stage, prepared, listen)
    asked = [find_runner(phase) for phase in start.phases]
    prepared.model.calibration = None  # also of a result that could not be read
    # In the order in which features pass the parts, since each is fitted to what it receives.
    for phase in (fit_mapping, fit_missing, fit_joint, *asked, settle, calibrate):
        notes += phase(state)
    notes += describe_collapses(state.result)
    return Trained(
        prepared.model,
        prepared.criterion,
        prepared.data,
        state.result,
        start.report,
        notes,
        prepared.joint,
        line=state.line,
    )


def _announce(context: Context, about: Stage, start: Start) -> None:
    """Report where the starting weights come from, and write the names of all tensors."""
    stage, epochs = about.id, context.experiment.trainer.of(about.id.role).epochs
    text = f"{epochs} {'epoch' if epochs == 1 else 'epochs'}"
    if not about.transfer.uses_epochs:
        text = "the head is fitted, without epochs"
    context.listen(Event(EventKind.STAGE, stage, text=text))
    if stage.role is not Role.TARGET:
        return
    context.directory.write_json("transfer.json", start.report.to_json())
    counts = ", ".join(f"{count} {name}" for name, count in start.report.counts().items())
    if start.report.training_only:
        parts = {name.split(".")[0] for name in start.report.training_only}
        owners = ", ".join(owner for part, owner in FOR_TRAINING.items() if part in parts)
        counts += f"; {len(start.report.training_only)} more for training alone, of {owners}"
    for text in (f"tensors: {counts} (named in transfer.json)", *start.report.notes):
        context.note(stage, text)


def describe_collapses(fitted: FitResult) -> tuple[str, ...]:
    """Return an alarm for each modality that has collapsed."""
    return tuple(
        f"ALARM: {name} collapsed in epoch {epoch}: its encoder's gradient and the accuracy of a "
        "probe on its features fell away; trainer.modality_dropout or "
        "objective=gradient_blending may keep it learning"
        for name, epoch in fitted.collapsed.items()
    )
