"""What a training phase needs: the recipe of its stage, a compiled model, decoded rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mmx.evaluation.metrics import RETRIEVAL, make_score
from mmx.experiment import Experiment
from mmx.model import MultimodalModel
from mmx.stage_id import Role
from mmx.stages.core.accumulated_steps import explain_accumulation, explain_shares
from mmx.stages.core.joint_model import make_joint_loss
from mmx.stages.core.validate import Validator
from mmx.stages.phases.base import Notes, StageState
from mmx.stages.phases.fit_mapping import features_move
from mmx.training.data import Data
from mmx.training.fixed_fronts import keep_fronts
from mmx.training.recipe import Recipe

REPLAY = "reduce-overhead"
"""The mode of torch.compile that records CUDA graphs."""


def make_training_data(state: StageState) -> Data:
    """Return the rows of a stage as its epochs read them, decoded."""
    prepared, settings = state.prepared, state.context.experiment
    prepared.data.decode()
    # A regulariser gives inputs to the source's encoders, too, and some balances mix them.
    reads_inputs = prepared.penalty is not None or prepared.joint is not None
    mixes = settings.balance is not None and settings.balance.mixes_inputs_of
    epochs = settings.trainer.of(state.stage.id.role).epochs
    if reads_inputs or mixes or epochs == 1:
        return prepared.data
    return keep_fronts(prepared.data, prepared.model)


def make_recipe(state: StageState, data: Data) -> tuple[Recipe, Notes]:
    """Return the recipe of a stage that trains on this data, and notes; compile its model."""
    context, stage, prepared = state.context, state.stage, state.prepared
    experiment, model = context.experiment, prepared.model
    _compile(experiment, model)
    label_free = experiment.role(stage.id.role).objective.label_free
    recipe = Recipe(
        stage=stage.id,
        seed=state.seed,
        trainer=experiment.trainer.of(stage.id.role),
        optimizer=experiment.optimizer,
        precision=context.precision,
        validate=Validator(
            data,
            state.target,
            prepared.criterion,
            context.precision,
            features_move(model, prepared.start.frozen_encoders),
            state.seed,
            prepared.joint,
            metric=state.metric,
        ),
        score=make_score(RETRIEVAL if label_free else state.target.kind, state.metric),
        state_path=context.directory.state_file(stage.id),
        joint=make_joint_loss(context, model, prepared.joint),
    )
    if stage.id.role is not Role.TARGET:
        return recipe, ()
    shares = explain_shares(experiment, model, prepared.start)
    steps = explain_accumulation(experiment, model, prepared.start, len(data.rows("train")))
    return recipe, (*shares, *steps)


def _compile(experiment: Experiment, model: MultimodalModel) -> None:
    """Compile encoders and fusion if asked to; phases before training run uncompiled."""
    for module in (*model.encoders.values(), model.fusion):
        if experiment.settings.compile == REPLAY:
            _replay(module)
        elif experiment.settings.compile:
            # Otherwise the sizes seen first would decide the kernels, and so the last bits.
            module.compile(dynamic=True)


def _replay(module: nn.Module) -> None:
    """Compute a module's training steps by compiled code in CUDA graphs.

    A graph writes the outputs of each call into the same memory. Training has used them by its
    next step; evaluation keeps the features of many batches, and so runs the module as it is.
    """
    plain = module._call_impl
    compiled = torch.compile(plain, mode=REPLAY, dynamic=True)

    def call(*args: Any, **named: Any) -> Any:
        return (compiled if torch.is_grad_enabled() else plain)(*args, **named)

    # As Module.compile does; a copy of the module is without it.
    module._compiled_call_impl = call
