"""Draw a stage's model, set its starting weights by the transfer, and bind its regulariser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mmx.experiment import Experiment
from mmx.model import MultimodalModel
from mmx.stage_id import Role
from mmx.stages.core.cached import cache_features
from mmx.stages.core.context import Context
from mmx.stages.core.joint_model import join
from mmx.stages.core.shared_encoders import share_frozen_encoders
from mmx.stages.core.source_reference import bind_penalty
from mmx.stages.core.stage import PreparedStage, Stage
from mmx.stages.core.stage_model import attach_criterion, make_model
from mmx.training.memory_format import use_channels_last
from mmx.training.randomness import seed_torch
from mmx.transfer import Start
from mmx.transfer.freezing import limit_epochs
from mmx.variants import variant

FOR_TRAINING = {
    "companion": "the source task",
    "weighting": "the weighting of both tasks",
    "penalty": "the regularizer",
}
"""Parts of a model that are needed for training only, with their names for people."""


def prepare_stage(context: Context, stage: Stage) -> PreparedStage:
    """Return a stage with its starting weights; nothing is trained yet."""
    experiment, opened, given = context.experiment, stage.opened, stage.source
    target = opened.task.target
    # By the task's role: the target and its controls draw the same fresh weights.
    seed_torch(experiment.settings.seed, stage.id.task, "weights")
    sharing = replace(experiment, encoders=share_frozen_encoders(stage, experiment.encoders))
    model = make_model(sharing, stage.id.role, opened.specs, target, stage.transfer)
    criterion = attach_criterion(experiment, stage.id.role, model, opened.data, target)
    start = stage.transfer.start(given.source if given else None, model, target.classes)
    start = limit_epochs(start, model, experiment.trainer.of(stage.id.role).epochs)
    joint, notes = join(context, model, stage.joint)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in start.frozen)
    use_channels_last(model.to(context.precision.device))
    data = opened.data
    notes = (*notes, *_note_uncut(experiment, start))
    for name in sorted(start.frozen_encoders):
        data = cache_features(context, replace(opened, data=data), model, name)
    penalty = None
    if stage.id.role is Role.TARGET and experiment.regularizer is not None:
        start = replace(start, weight_decay=experiment.regularizer.weight_decay)
        penalty = bind_penalty(context, model, replace(opened, data=data), start, given)
    notes = (*start.report.notes, *notes)
    start = _name_additions(start, model)
    return PreparedStage(model, criterion, data, start, joint, penalty, notes)


def _note_uncut(experiment: Experiment, start: Start) -> Iterator[str]:
    """Yield a note where a balance mixes inputs, and a frozen encoder reads each row once."""
    balance = experiment.balance
    if balance is not None and balance.mixes_inputs_of and start.frozen_encoders:
        yield (
            f"balance={variant(type(balance))} mixes nothing: features of "
            f"{', '.join(sorted(start.frozen_encoders))} are computed once, of whole rows"
        )


def _name_additions(start: Start, model: MultimodalModel) -> Start:
    """Return a start whose report includes the tensors added to the model for training.

    Raises:
        RuntimeError: The transfer has left out a tensor of the model itself.
    """
    report = start.report
    known = {*report.copied, *report.adapted, *report.frozen, *report.fresh}
    added = tuple(name for name in model.state_dict() if name not in known)
    if forgotten := [name for name in added if name.split(".")[0] not in FOR_TRAINING]:
        raise RuntimeError(f"the transfer's report names no origin of {', '.join(forgotten)}")
    return replace(start, report=replace(report, training_only=added))
