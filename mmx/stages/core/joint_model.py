"""Joint training: two tasks, one step, shared weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import cast

from torch import nn

from mmx.encoders import Encoder
from mmx.errors import TransferError
from mmx.experiment import Experiment
from mmx.model import MultimodalModel
from mmx.stage_id import Role
from mmx.stages.core.context import Context, JointTask, Opened
from mmx.stages.core.source_reference import alike
from mmx.stages.core.stage_model import attach_criterion, make_model
from mmx.training.loss import BatchLoss, JointLoss
from mmx.transfer import Transfer
from mmx.transfer.weighting import Weighting


def join(
    context: Context, model: MultimodalModel, source: Opened | None
) -> tuple[JointTask | None, tuple[str, ...]]:
    """Make the other task's model a part of this one, its shared parts the same modules.

    Args:
        context: Of the run.
        model: The target's.
        source: The other task, opened; None where the stage trains alone.

    Returns:
        The source as it trains jointly, None where the stage trains alone, and notes on what is
        shared.

    Raises:
        TransferError: Nothing can be shared.
    """
    experiment, device = context.experiment, context.precision.device
    transfer = experiment.transfer
    if source is None or transfer.needs != "rows":
        return None, ()
    other = make_model(experiment, Role.SOURCE, source.specs, source.task.target, transfer)
    criterion = attach_criterion(experiment, Role.SOURCE, other, source.data, source.task.target)
    notes = share(model, other)
    model.companion = other.to(device)
    weighting = _weighting(experiment, transfer).to(device)
    if weighting.state_dict():
        model.weighting = weighting
    return JointTask(other, criterion, source.data, source.task.target, weighting), notes


def make_joint_loss(
    context: Context, model: MultimodalModel, joint: JointTask | None
) -> JointLoss | None:
    """Return the loss that joint training adds to each step; None where the target trains alone."""
    if joint is None:
        return None
    seed, trainer = context.experiment.settings.seed, context.experiment.trainer.of(Role.TARGET)
    loss = BatchLoss(
        joint.model,
        joint.data,
        joint.criterion,
        context.precision,
        modality_dropout=trainer.modality_dropout,
    )
    last = last_shared(model, joint.model)
    return JointLoss(
        loss, joint.weighting, seed, trainer.batch_size, last, accumulate=trainer.accumulate
    )


def _weighting(experiment: Experiment, transfer: Transfer) -> Weighting:
    """Return what weighs the losses of target and source."""
    source = experiment.source
    if source is None:
        raise RuntimeError("joint training without a source is reduced to scratch before")
    label_free = experiment.role(Role.SOURCE).objective.label_free
    return transfer.weigh((experiment.target.kind, "classes" if label_free else source.kind))


def share(model: MultimodalModel, other: MultimodalModel) -> tuple[str, ...]:
    """Let ``other`` use the parameters of ``model`` wherever they fit, and say which.

    Shared are encoders and adapters of modalities that both have, the trunk, and mapping
    and fusion where both have the same modalities. Each keeps a head of its own.

    Raises:
        TransferError: Nothing can be shared.
    """
    found = [_share_encoders(model, other), _share_trunk(model, other), _share_rest(model, other)]
    shared = [part for parts, _ in found for part in parts]
    own = [part for _, parts in found for part in parts]
    in_other = _ids(other.parameters())
    count = sum(p.numel() for p in model.parameters() if id(p) in in_other)
    kept = tuple(f"each task keeps {part} for itself" for part in own)
    if not count:
        raise TransferError(
            "source and target can share nothing: "
            + ("; ".join(kept) or "they have no modality in common"),
            tip="transfer=parameter trains them one after the other",
        )
    return f"source and target share {', '.join(shared)}: {count:,} parameters", *kept


SharedInWords = tuple[list[str], list[str]]
"""In words, what two tasks share, and what of a kind each keeps for itself."""


def _share_encoders(model: MultimodalModel, other: MultimodalModel) -> SharedInWords:
    """Share the encoders of modalities that both have, and their adapters to a trunk."""
    shared, own = [], []
    for name in sorted(model.encoders.keys() & other.encoders.keys()):
        if not alike(model.encoders[name], other.encoders[name]):
            own.append(f"the {name} encoder (its inputs have other shapes)")
            continue
        other.encoders[name] = twin(model.encoders[name])
        shared.append(f"the {name} encoder")
        if model.trunk is not None and other.trunk is not None:
            other.trunk.adapters[name] = model.trunk.adapters[name]
    return shared, own


def _share_trunk(model: MultimodalModel, other: MultimodalModel) -> SharedInWords:
    """Share the layers of the trunk that both have."""
    if model.trunk is None or other.trunk is None:
        return [], []
    common = sorted(model.trunk.layers.keys() & other.trunk.layers.keys())
    for name in common:
        other.trunk.layers[name] = model.trunk.layers[name]
    return ["the trunk"] if common else [], []


def _share_rest(model: MultimodalModel, other: MultimodalModel) -> SharedInWords:
    """Share mapping and fusion where both have the same modalities and a head of their own."""
    shared: list[str] = []
    own: list[str] = []
    if model.encoders.keys() != other.encoders.keys() or model.fusion.decides:
        return shared, own
    for part in ("mapping", "fusion"):
        mine, theirs = getattr(model, part), getattr(other, part)
        if type(mine) is not type(theirs) or mine is None or not mine.state_dict():
            continue  # there is nothing that could be shared
        if alike(mine, theirs):
            setattr(other, part, mine)
            shared.append(f"the {part}")
        else:
            own.append(f"the {part} (it has other widths)")
    return shared, own


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


def last_shared(model: MultimodalModel, other: MultimodalModel) -> tuple[nn.Parameter, ...]:
    """Return the parameters of the last layers that two tasks share.

    Those of the fusion where it is shared, else of the mapping, else of the trunk's last
    layers, else of the encoders' last depths.
    """
    in_other = _ids(other.parameters())
    for layers in _from_the_end(model):
        found = {id(p): p for p in layers if id(p) in in_other}
        if found:
            return tuple(found.values())
    raise RuntimeError("tasks that share nothing are refused before")


def _from_the_end(model: MultimodalModel) -> Iterator[Iterable[nn.Parameter]]:
    """Yield the parameters of a model's layers, those nearest to the head first."""
    yield model.fusion.parameters()
    if model.mapping is not None:
        yield model.mapping.parameters()
    if model.trunk is not None:
        yield [p for body in model.trunk.layers.values() for p in _last_linear(body).parameters()]
    depths = [list(_by_depth(cast(Encoder, each))) for each in model.encoders.values()]
    for back in range(max(len(each) for each in depths)):
        yield [p for each in depths for p in (each[back] if back < len(each) else ())]


def _last_linear(body: nn.Module) -> nn.Module:
    return [layer for layer in body.modules() if isinstance(layer, nn.Linear)][-1]


def _by_depth(encoder: Encoder) -> Iterator[list[nn.Parameter]]:
    """Yield an encoder's parameters depth by depth, the last one first."""
    for prefixes in reversed(encoder.depths()):
        found = [p for name, p in encoder.named_parameters() if name.startswith(prefixes)]
        if found:
            yield found


def _ids(parameters: Iterable[nn.Parameter]) -> set[int]:
    return {id(parameter) for parameter in parameters}
