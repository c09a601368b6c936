"""Joint training: two tasks, one step, shared weights."""

from __future__ import annotations

import copy

from torch import nn

from mmx.errors import TransferError
from mmx.model import MultimodalModel
from mmx.sharing.base import TaskSharing
from mmx.stages.build import attach_criterion, make_model
from mmx.stages.context import Beside, Context, Opened
from mmx.training.loss import BatchLoss, Companion


def join(
    context: Context, model: MultimodalModel, beside: Opened | None
) -> tuple[Beside | None, tuple[str, ...]]:
    """Make the other task's model a part of this one, its shared parts the same modules.

    Args:
        context: Of the run.
        model: The target's.
        beside: The other task; None where the stage trains alone.

    Returns:
        What trains along, None where nothing does, and notes on what is shared.

    Raises:
        TransferError: Nothing can be shared.
    """
    experiment = context.experiment
    sharing = experiment.parts.sharing
    if beside is None or not isinstance(sharing, TaskSharing):
        return None, ()
    other = make_model(experiment, "source", beside.specs, beside.task.target)
    criterion = attach_criterion(experiment, "source", other, beside.data, beside.task.target)
    notes = share(model, other)
    model.companion = other.to(context.precision.device)
    return Beside(other, criterion, beside.data, beside.task.target), notes


def companion(context: Context, beside: Beside | None) -> Companion | None:
    """Return what the task that trains along adds to each step."""
    sharing, experiment = context.experiment.parts.sharing, context.experiment
    if beside is None or not isinstance(sharing, TaskSharing):
        return None
    dropout = experiment.trainer.modality_dropout
    loss = BatchLoss(
        beside.model,
        beside.data,
        beside.criterion,
        context.precision,
        modality_dropout=dropout,
    )
    size = experiment.trainer.batch_size
    return Companion(loss, sharing.source_weight, experiment.settings.seed, size)


def share(model: MultimodalModel, other: MultimodalModel) -> tuple[str, ...]:
    """Let ``other`` use the parameters of ``model`` wherever they fit, and say which.

    Shared are encoders and adapters of modalities that both have, the trunk, and mapping
    and fusion where both have the same modalities. Each keeps a head of its own.

    Raises:
        TransferError: Nothing can be shared.
    """
    shared, own = [], []
    for name in sorted(model.encoders.keys() & other.encoders.keys()):
        if _alike(model.encoders[name], other.encoders[name]):
            other.encoders[name] = twin(model.encoders[name])
            shared.append(f"the {name} encoder")
            if model.trunk is not None and other.trunk is not None:
                other.trunk.adapters[name] = model.trunk.adapters[name]
        else:
            own.append(f"the {name} encoder (its inputs have other shapes)")
    if model.trunk is not None and other.trunk is not None:
        common = model.trunk.layers.keys() & other.trunk.layers.keys()
        for name in sorted(common):
            other.trunk.layers[name] = model.trunk.layers[name]
        shared.extend(["the trunk"] if common else [])
    if model.encoders.keys() == other.encoders.keys() and not model.fusion.decides:
        for part in ("mapping", "fusion"):
            mine, theirs = getattr(model, part), getattr(other, part)
            if mine is not None and theirs is not None and _alike(mine, theirs):
                setattr(other, part, mine)
                shared.append(f"the {part}")
    if not shared:
        raise TransferError(
            "source and target can share nothing: they have no modality in common",
            tip="sharing=none trains them one after the other",
        )
    of_other = {id(parameter) for parameter in other.parameters()}
    count = sum(p.numel() for p in model.parameters() if id(p) in of_other)
    return (
        f"source and target share {', '.join(shared)}: {count:,} parameters",
        *(f"each task keeps {part} for itself" for part in own),
    )


def twin(module: nn.Module) -> nn.Module:
    """Return a module with the very parameters of another, and statistics of its own.

    The running means of a normalisation are those of one task's data: mixed over two tasks
    they would fit neither.
    """
    other = copy.deepcopy(module)
    for mine, theirs in zip(module.modules(), other.modules(), strict=True):
        for name, parameter in mine.named_parameters(recurse=False):
            setattr(theirs, name, parameter)
    return other


def _alike(one: nn.Module, other: nn.Module) -> bool:
    """Return whether two modules have tensors of the same names and shapes."""
    shapes = [{k: v.shape for k, v in each.state_dict().items()} for each in (one, other)]
    return shapes[0] == shapes[1]
