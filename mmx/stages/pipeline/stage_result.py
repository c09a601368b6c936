"""The result of a stage in its run directory: writing, finding and reading it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor

from mmx.calibration import attach
from mmx.errors import DamagedFileError, DivergedError, RunError
from mmx.json_object import Json
from mmx.modalities import spec_to_json
from mmx.runs.records import read_record
from mmx.runs.stage_facts import STAGE_FACTS_FORMAT, StageFacts, TargetFacts
from mmx.stages.core.context import Context, Opened, Trained
from mmx.stages.core.published_tensors import fill_in_given, leave_out_published
from mmx.stages.core.stage import PreparedStage, Stage
from mmx.stages.phases.wise_ft import line_points, line_tensors, read_line
from mmx.training import checkpoint, saved_state
from mmx.training.events import Event, EventKind
from mmx.training.recipe import FitResult
from mmx.transfer import Start


def keep_result(context: Context, stage: Stage, start: Start, trained: Trained) -> Trained:
    """Write a stage's result to the run directory, and report it.

    Raises:
        DivergedError: A weight is not finite.
        Interrupted: A signal has asked to stop.
    """
    fitted = trained.fitted
    # What is frozen is as it was read, which has been checked.
    trained_here = (
        each for each in trained.model.named_parameters() if each[0] not in start.frozen
    )
    if names := checkpoint.find_not_finite(trained_here):
        raise DivergedError(
            f"stage {stage.id} ended with weights that are not finite: {names[0]}",
            tip=f"try optimizer.lr={context.experiment.optimizer.lr / 10:g}",
        )
    kept = context.directory.stage_file(stage.id)
    tensors = {**trained.model.state_dict(), **line_tensors(trained.line)}
    facts = make_facts(stage.opened, trained, start)
    tensors, facts = leave_out_published(tensors, facts, stage.source)
    checkpoint.write_checkpoint(kept, tensors, facts.to_json())
    saved_state.remove_states(context.directory.state_file(stage.id))
    text = f"best epoch {fitted.best_epoch} of {fitted.epochs}"
    text = text if fitted.epochs else "fitted without a gradient step"
    context.listen(
        Event(EventKind.DONE, stage.id, values=fitted.val, seconds=fitted.seconds, text=text)
    )
    if context.stop.is_made:
        raise context.stop.describe(f"stopped after stage {stage.id}")
    return trained


def make_facts(opened: Opened, trained: Trained, start: Start) -> StageFacts:
    """Return the facts of a stage's checkpoint."""
    facts = StageFacts(
        format=STAGE_FACTS_FORMAT,
        specs={name: spec_to_json(spec) for name, spec in opened.specs.items()},
        target=TargetFacts.describe(opened.task.target),
        fitted=asdict(trained.fitted),
        frozen_encoders=sorted(start.frozen_encoders),
        notes=list(trained.notes),
    )
    # Set only where there is a line, so that files without one do not say ``"line": null``.
    points = line_points(trained.line)
    return facts.model_copy(update={"line": points}) if points else facts


def find_result(context: Context, stage: Stage, prepared: PreparedStage) -> Trained | None:
    """Return the result that this run wrote before it was interrupted, or None.

    A damaged file is removed, and the stage is trained again.
    """
    kept = context.directory.stage_file(stage.id)
    if not kept.exists():
        return None
    try:
        trained = read_result(stage, prepared, *checkpoint.read_checkpoint(kept), kept)
    except DamagedFileError as error:
        text = f"WARNING: {kept.name} is damaged: {stage.id} is trained again ({error.message})"
        context.note(stage.id, text)
        kept.unlink()
        return None
    # The run may have been killed between writing the result and removing the states.
    saved_state.remove_states(context.directory.state_file(stage.id))
    context.note(stage.id, f"{stage.id} had been trained before")
    cached = context.directory.manifest().cached
    return replace(trained, cached=cached.get(str(stage.id), False))


def read_result(
    stage: Stage, prepared: PreparedStage, tensors: dict[str, Tensor], facts: Json, path: Path
) -> Trained:
    """Return a stage's result from its tensors and facts.

    Raises:
        DamagedFileError: They are not the result of a stage; ``path`` is named in the message.
        RunError: They leave out published tensors whose files are others now.
    """
    try:
        read = read_record(facts, StageFacts, path)
    except RunError as error:
        raise DamagedFileError(f"{path} is no result of a stage: {error!r}") from error
    tensors = fill_in_given(tensors, read, stage.source, path)
    try:
        tensors, line = read_line(tensors, read.line, prepared.data.device)
        fitted, notes = FitResult(**read.fitted), tuple(read.notes)
    except (RunError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{path} is no result of a stage: {error!r}") from error
    attach(prepared.model, tensors, prepared.data.device)
    checkpoint.restore(prepared.model, tensors, path)
    return Trained(
        prepared.model,
        prepared.criterion,
        prepared.data,
        fitted,
        prepared.start.report,
        notes,
        prepared.joint,
        line=line,
    )
