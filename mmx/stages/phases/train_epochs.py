"""Train by gradient descent, epoch by epoch: the main phase of most stages."""

from __future__ import annotations

from mmx.stage_id import Role
from mmx.stages.phases.base import Notes, StageState
from mmx.stages.phases.training_setup import make_recipe, make_training_data
from mmx.training.fit import fit
from mmx.training.loss import BatchLoss
from mmx.transfer.phases import TrainEpochs


def train_epochs(phase: TrainEpochs, state: StageState) -> Notes:
    """Train the model; it ends with the weights of the best epoch on validation."""
    context, prepared = state.context, state.prepared
    data = make_training_data(state)
    recipe, notes = make_recipe(state, data)
    loss = BatchLoss(
        prepared.model,
        data,
        prepared.criterion,
        context.precision,
        context.experiment.balance if state.stage.id.role is not Role.SOURCE else None,
        recipe.trainer.modality_dropout,
        penalty=prepared.penalty,
    )
    state.fitted = fit(loss, prepared.start, recipe, state.listen, context.stop)
    return notes
