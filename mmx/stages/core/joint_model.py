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
from mmx.stages.core.source_reference import are_alike
from mmx.stages.core.stage_model import MakeModel, attach_criterion, make_model
from mmx.training.loss import BatchLoss, JointLoss
from mmx.transfer import Transfer
from mmx.transfer.weighting import Weighting


def join(
    context: Context, model: MultimodalModel, source: Opened | None, make: MakeModel = make_model
) -> tuple[JointTask | None, tuple[str, ...]]:
    """Make the source's model a part of the target's; shared parts are the same modules.

    Args:
        context: The run's context.
        model: The target's model.
        source: The source's data; None if the stage trains alone.
        make: Makes the source's model, on the device of the target's.

    Returns:
        The source in joint training, or None if the stage trains alone, and notes on what is
        shared.

    Raises:
        TransferError: Nothing can be shared.
    """
    experiment, device = context.experiment, context.precision.device
    transfer = experiment.transfer
    if source is None or transfer.needs != "rows":
        return None, ()
    other = make(experiment, Role.SOURCE, source.specs, source.task.target, transfer)
    criterion = attach_criterion(experiment, Role.SOURCE, other, source.data, source.task.target)
    notes = share(model, other)
    model.companion = other  # moves to a device with the target's model, of which it is a part
    weighting = _make_weighting(experiment, transfer).to(device)
    if weighting.state_dict():
        model.weighting = weighting
    return JointTask(other, criterion, source.data, source.task.target, weighting), notes


def make_joint_loss(
    context: Context, model: MultimodalModel, joint: JointTask | None
) -> JointLoss | None:
    """Return the loss that joint training adds to each step; None if the target trains alone."""
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
    last = find_last_shared(model, joint.model)
    return JointLoss(
        loss, joint.weighting, seed, trainer.batch_size, last, accumulate=trainer.accumulate
    )


def _make_weighting(experiment: Experiment, transfer: Transfer) -> Weighting:
    """Return the weighting of the losses of target and source."""
    source = experiment.source
    if source is None:
        raise RuntimeError("joint training without a source is reduced to scratch before")
    label_free = experiment.role(Role.SOURCE).objective.label_free
    return transfer.weigh((experiment.target.kind, "classes" if label_free else source.kind))


def share(model: MultimodalModel, other: MultimodalModel) -> tuple[str, ...]:
    """Let ``other`` use the parameters of ``model`` wherever they fit, and return notes on them.

    Encoders and adapters of common modalities are shared, and the trunk; mapping and fusion are
    shared if both have the same modalities. Each model keeps its own head.

    Raises:
        TransferError: Nothing can be shared.
    """
    found = [_share_encoders(model, other), _share_trunk(model, other), _share_rest(model, other)]
    shared = [part for parts, _ in found for part in parts]
    own = [part for _, parts in found for part in parts]
    in_other = _ids(other.parameters())  # shared parameters are the same objects
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
"""In words, what two tasks share, and what each keeps for itself although both have it."""


def _share_encoders(model: MultimodalModel, other: MultimodalModel) -> SharedInWords:
    """Share the encoders of modalities that both have, and their adapters to a trunk."""
    shared, own = [], []
    for name in sorted(model.encoders.keys() & other.encoders.keys()):
        if not are_alike(model.encoders[name], other.encoders[name]):
            own.append(f"the {name} encoder (its inputs have other shapes)")
            continue
        # Running statistics of norms stay separate; see copy_sharing_parameters.
        other.encoders[name] = copy_sharing_parameters(model.encoders[name])
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
    """Share mapping and fusion if both have the same modalities and separate heads."""
    shared: list[str] = []
    own: list[str] = []
    if model.encoders.keys() != other.encoders.keys() or model.fusion.decides:
        return shared, own
    for part in ("mapping", "fusion"):
        mine, theirs = getattr(model, part), getattr(other, part)
        if type(mine) is not type(theirs) or mine is None or not mine.state_dict():
            continue  # there is nothing that could be shared
        if are_alike(mine, theirs):
            setattr(other, part, mine)
            shared.append(f"the {part}")
        else:
            own.append(f"the {part} (it has other widths)")
    return shared, own


def copy_sharing_parameters(module: nn.Module) -> nn.Module:
    """Return a copy of a module that shares its parameters but not its buffers.

    The running statistics of a normalisation belong to one task's data: mixed over two tasks
    they would fit neither.
    """
    other = copy.deepcopy(module)
    for mine, theirs in zip(module.modules(), other.modules(), strict=True):
        for name, parameter in mine.named_parameters(recurse=False):
            setattr(theirs, name, parameter)
    return other


def find_last_shared(model: MultimodalModel, other: MultimodalModel) -> tuple[nn.Parameter, ...]:
    """Return the parameters of the last layers that two tasks share.

    They are those of the fusion if it is shared, otherwise of the mapping, otherwise of the
    trunk's last layers, otherwise of the encoders' last depths.
    """
    in_other = _ids(other.parameters())
    for layers in _iterate_from_head(model):
        found = {id(p): p for p in layers if id(p) in in_other}
        if found:
            return tuple(found.values())
    raise RuntimeError("tasks that share nothing are refused before")


def _iterate_from_head(model: MultimodalModel) -> Iterator[Iterable[nn.Parameter]]:
    """Yield the parameters of a model's layers, starting with those nearest to the head."""
    yield model.fusion.parameters()
    if model.mapping is not None:
        yield model.mapping.parameters()
    if model.trunk is not None:
        yield [p for body in model.trunk.layers.values() for p in _last_linear(body).parameters()]
    depths = [list(_by_depth(cast(Encoder, each))) for each in model.encoders.values()]
    # Encoders differ in depth: count back from the last depth of each.
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
