"""The model of a stage, and its objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch

from mmx.errors import TransferError
from mmx.experiment import Experiment
from mmx.fusion import Fusion
from mmx.fusion.match import make_matched
from mmx.meta_model import make_without_memory
from mmx.model import MultimodalModel, NoFusion, Parts
from mmx.objectives import Criterion
from mmx.stage_id import Role
from mmx.stages.core.context import Specs
from mmx.tasks import Target
from mmx.training.data import Data
from mmx.transfer import Transfer

MakeModel = Callable[[Experiment, Role, Specs, Target, Transfer], MultimodalModel]
_T = TypeVar("_T")


def make_model(
    experiment: Experiment, role: Role, specs: Specs, target: Target, transfer: Transfer
) -> MultimodalModel:
    """Return a freshly drawn model for a stage of a role, with what its transfer adds to it.

    Raises:
        TransferError: ``match=params`` finds no width.
    """
    encoders = {name: experiment.encoders[name] for name in specs}
    if experiment.role(role).objective.label_free:
        groups = experiment.parts.encoder_groups
        parts = Parts(sharing=experiment.parts.sharing, encoder_groups=groups)
        return MultimodalModel(specs, encoders, NoFusion, target.outputs, parts)
    fusion: Callable[..., Fusion] = experiment.role(role).fusion
    if experiment.settings.match == "params" and experiment.role(role).own_fusion:
        budget = experiment.settings.match_params
        sharing = experiment.parts.sharing
        fusion = partial(
            make_matched,
            method=experiment.role(role).fusion,
            budget=budget,
            share_heads=sharing is not None and sharing.classifier,
        )
    parts = replace(experiment.parts, head=partial(transfer.make_head, kind=target.kind))
    try:
        model = MultimodalModel(specs, encoders, fusion, target.outputs, parts)
    except ValueError as error:
        raise TransferError(str(error), tip="change match_params, or match=none") from error
    transfer.equip(model)
    return model


def make_meta_model(
    experiment: Experiment, role: Role, specs: Specs, target: Target, transfer: Transfer
) -> MultimodalModel:
    """Return what :func:`make_model` does on the meta device: names and shapes, and no values.

    Nothing is drawn, and the random generators stay as they were. Use it to ask what a transfer
    would do before anything is trained.

    Raises:
        TransferError: As :func:`make_model`.
    """
    made = make_without_memory(make_model, experiment, role, specs, target, transfer)
    return made.to("meta")  # also one whose constructor needs values, so that all are alike


def try_without_values(start: Callable[[MakeModel], _T]) -> _T:
    """Return what ``start`` returns for meta models, or for drawn ones where it reads values.

    Copying needs names and shapes alone; pruning, for example, compares weights.

    Args:
        start: Given :func:`make_meta_model` or :func:`make_model`, makes models and tries
            something on them.
    """
    try:
        return start(make_meta_model)
    except (RuntimeError, TypeError):  # what torch raises where a meta tensor's value is read
        return start(make_model)


def attach_criterion(
    experiment: Experiment, role: Role, model: MultimodalModel, data: Data, target: Target
) -> Criterion:
    """Return a role's objective, bound to its data; if it has tensors, the model contains it."""
    rows = torch.from_numpy(data.rows("train"))
    values = data.target[rows.to(data.device)].cpu()
    objective = experiment.role(role).objective
    try:
        criterion = objective.bind(values, target.outputs, model.encoded_widths)
    except ValueError as error:
        raise TransferError(f"objective: {error}") from error
    if criterion.state_dict():  # such as temperatures, which train and are saved with the model
        model.criterion = criterion
    return criterion.to(data.device)
