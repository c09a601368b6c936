"""The trained source as a reference for regularisers while the target trains."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from mmx.errors import TransferError
from mmx.fusion import Widths
from mmx.modalities import Batch, Features
from mmx.model import MultimodalModel
from mmx.stages.core.cached import cache_channel_weights
from mmx.stages.core.context import Context, Opened
from mmx.stages.core.stage import GivenSource
from mmx.training.data import Data, Rows, split_rows
from mmx.training.encode import BATCH_SIZE, encode_rows
from mmx.transfer import Start
from mmx.transfer.regularizers import Penalty, Regularizer, RegularizerContext
from mmx.variants import variant

SOURCE_ROWS = 4096
"""Rows of the source, at most, that are encoded to compare distributions with."""


class SourceReference:
    """The source's model, frozen; see :class:`~mmx.transfer.regularizers.Reference`.

    Each of the target's modalities has a counterpart in the source: its own kind, or the one
    that ``transfer.map`` names. If both are of one kind and have the same shapes, f0 is the
    output of the source's encoder. If the target's encoder was copied completely from the source,
    but from another modality or adapted to another input, the source's encoder cannot read the
    target's inputs; f0 is then the output of the target's own encoder with its starting weights
    w0. Everything after the encoders is the source's in both cases.

    Args:
        source: The trained source's model.
        model: The target's model as it starts.
        frozen: Modalities with a frozen encoder, which a regulariser cannot change.
        from_source: Names of the target's tensors that came from the source.
        origins: Target modality to source modality, if it is not the same.

    Attributes:
        origins: Each of ``modalities`` to its counterpart.
    """

    def __init__(
        self,
        source: MultimodalModel,
        model: MultimodalModel,
        frozen: frozenset[str],
        from_source: Collection[str] = (),
        origins: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.model = source.eval().requires_grad_(False)
        self.origins: dict[str, str] = {}
        started = []
        for name in sorted(model.encoders.keys() - frozen):
            origin = origins.get(name, name)
            if origin not in source.encoders:
                continue
            mine = name == origin and are_alike(model.encoders[name], source.encoders[name])
            if not mine and not _came_whole(name, model, from_source, source.widths[origin]):
                continue
            self.origins[name] = origin
            started += [] if mine else [name]
        self.modalities = tuple(self.origins)
        self._started = copy_started(model, started) if started else None
        # The last label tensor has one row for each output, whether it is a weight or a bias.
        head = source.state_dict()[source.label_tensors[-1]] if source.label_tensors else None
        self.outputs_count = 0 if head is None else len(head)

    def features(self, batch: Batch) -> dict[str, Features]:
        """Return f0, the reference features of a target's batch, without gradient."""
        with torch.no_grad():
            return {
                name: self._through_trunk(name, self._reader(name).encode_one(name, batch))
                for name in self.modalities
            }

    def decide(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, C)`` outputs of features through its frozen fusion and head."""
        return self.model.decide(*_as_source(self.model, self.origins, features, present))

    def decision(self) -> nn.Module:
        """Return a trainable copy of its later layers: (features, present) → ``(B, C)``."""
        return Decision(self.model, self.origins)

    def encoder(self, modality: str) -> nn.Module:
        """Return the encoder that computes f0 of a target's modality."""
        return self._reader(modality).encoders[modality]

    def _reader(self, name: str) -> MultimodalModel:
        """Return the model whose encoder reads a target's modality."""
        if self._started is not None and name in self._started.encoders:
            return self._started
        return self.model

    def _through_trunk(self, name: str, features: Features) -> Features:
        if self.model.trunk is None:
            return features
        through: Features = self.model.trunk(self.origins[name], self.model.for_fusion(features))
        return through


def copy_started(model: MultimodalModel, names: Collection[str]) -> MultimodalModel:
    """Return a frozen copy of a started model that encodes only some modalities."""
    encoders = model.encoders  # put back below: the copy should not contain the others
    model.encoders = nn.ModuleDict({name: encoders[name] for name in names})
    started = copy.deepcopy(model).eval().requires_grad_(False)
    model.encoders = encoders
    for part in started.modules():
        if isinstance(part, nn.RNNBase):
            part.flatten_parameters()  # a copy's are not contiguous: cuDNN would warn in each batch
    return started


def _came_whole(
    name: str, model: MultimodalModel, from_source: Collection[str], widths: Widths
) -> bool:
    """Return whether all of an encoder came from the source, with outputs of the same width."""
    own = {f"encoders.{name}.{each}" for each in model.encoders[name].state_dict()}
    return own <= set(from_source) and model.widths[name] == widths


def _as_source(
    source: MultimodalModel,
    origins: Mapping[str, str],
    features: dict[str, Features],
    present: dict[str, Tensor],
) -> tuple[dict[str, Features], dict[str, Tensor]]:
    """Return a target's features and presence under the names of the source's modalities."""
    theirs = {origin: features[name] for name, origin in origins.items()}
    here = {origin: present[name] for name, origin in origins.items()}
    return add_absent_modalities(source, theirs, here)


class Decision(nn.Module):
    """A trainable copy of a source's layers after the encoders: its old head on new features.

    Args:
        source: The trained source's model, which is copied.
        origins: Modality of the features to the source's modality that it stands for.
    """

    def __init__(self, source: MultimodalModel, origins: Mapping[str, str]) -> None:
        super().__init__()
        encoders, source.encoders = source.encoders, nn.ModuleDict()
        self.model = copy.deepcopy(source).requires_grad_(True)
        source.encoders = encoders
        # These are not used after the encoders: trainable, they would never get a gradient.
        self.model.trunk = self.model.criterion = None
        self.model.penalty = self.model.companion = None
        self.widths = source.widths
        self.origins = dict(origins)

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, C)`` outputs."""
        return self.model.decide(*_as_source(self.model, self.origins, features, present))


def add_absent_modalities(
    source: MultimodalModel, features: dict[str, Features], present: dict[str, Tensor]
) -> tuple[dict[str, Features], dict[str, Tensor]]:
    """Return features and presence with the source's other modalities added, absent in all rows."""
    one = next(iter(features.values())).pooled
    here = {name: present[name] for name in features}
    for name in source.widths.keys() - features.keys():
        pooled = one.new_zeros(len(one), source.encoded_widths[name])
        mask = torch.zeros(len(one), 1, dtype=torch.bool, device=one.device)
        levels = tuple(one.new_zeros(len(one), w) for w in source.widths[name].levels)
        features = {**features, name: Features(pooled[:, None], mask, pooled, levels)}
        here[name] = torch.zeros(len(one), dtype=torch.bool, device=one.device)
    return features, here


def choose_source_rows(rows: Rows) -> Rows:
    """Return at most :data:`SOURCE_ROWS` of the rows, evenly spaced and in order.

    Rows are often sorted by class, so that the first ones would cover few classes.
    """
    count = min(len(rows), SOURCE_ROWS)
    # linspace includes both ends; rounding to integers keeps the order.
    taken: Rows = np.sort(rows)[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]
    return taken


def are_alike(one: nn.Module, other: nn.Module) -> bool:
    """Return whether two modules have tensors of the same names and shapes."""
    shapes = [{k: v.shape for k, v in each.state_dict().items()} for each in (one, other)]
    return shapes[0] == shapes[1]


def find_regularized(
    regularizer: Regularizer,
    model: MultimodalModel,
    start: Start,
    source: MultimodalModel | None,
    origins: Mapping[str, str],
) -> tuple[frozenset[str], SourceReference | None]:
    """Return what a regulariser acts on: the shared parameters, and the source as a reference.

    It depends only on names and shapes, so that an untrained source is sufficient.

    Args:
        regularizer: The experiment's regulariser.
        model: The target's model, started.
        start: How it started.
        source: The source's model, or None.
        origins: Target modality to source modality, if it is not the same.

    Raises:
        TransferError: There is nothing that it could act on.
    """
    shared = (start.shared & dict(model.named_parameters()).keys()) - start.frozen
    name = variant(type(regularizer))
    if "weights" in regularizer.needs and not shared:
        raise TransferError(
            f"regularizer={name}: no trained parameter came from the source",
            tip="let some of it train (transfer.freeze, transfer.freeze_depth), or "
            "regularizer=none",
        )
    regularizer.check(model, shared)
    if not regularizer.needs & {"model", "source_rows"}:
        return shared, None
    if source is None:
        raise TransferError(f"regularizer={name} needs a trained source")
    from_source = start.shared | {*start.report.frozen}
    reference = SourceReference(source, model, start.frozen_encoders, from_source, origins)
    if not reference.modalities:
        partly = _find_fresh_parts(model, from_source)
        raise TransferError(
            f"regularizer={name}: no encoder of the target that trains is built like one of "
            "the source's, or started whole from one"
            + "".join(f"; {each}" for each in partly.values()),
            tip=_advise(model, partly),
        )
    if {"model", "classes"} <= regularizer.needs:
        _refuse_doubles(name, reference.origins)
    return shared, reference


def _find_fresh_parts(model: MultimodalModel, from_source: Collection[str]) -> dict[str, str]:
    """Return what is fresh of encoders that started in part from the source, by modality."""
    found = {}
    for name, encoder in model.encoders.items():
        own = [f"encoders.{name}.{each}" for each in encoder.state_dict()]
        fresh = [each for each in own if each not in from_source]
        if 0 < len(fresh) < len(own):
            found[name] = f"{fresh[0]} is fresh" + (
                f", and {len(fresh) - 1} more" * (len(fresh) > 1)
            )
    return found


def _advise(model: MultimodalModel, partly: Collection[str]) -> str:
    """Return what to type in place of a regulariser that has no reference."""
    if not partly:
        return "regularizer=none"
    stems = [
        f"encoder.{name}.stem=standard"
        for name in partly
        if "stem" in inspect.signature(type(model.encoders[name])).parameters
    ]
    typed = ["regularizer=l2_sp   (holds the weights that came from the source)"]
    return ", or ".join([*([" ".join(stems)] if stems else []), *typed])


def _refuse_doubles(name: str, origins: Mapping[str, str]) -> None:
    """Refuse two modalities that stand for one, if the source's outputs are needed."""
    for origin in sorted(set(origins.values())):
        if len(both := [each for each, of in origins.items() if of == origin]) > 1:
            raise TransferError(
                f"regularizer={name}: the source decides by one {origin}, and {' and '.join(both)} "
                "would both stand for it",
                tip="regularizer=rkd, or a transfer.map without doubles",
            )


def _list_training_rows(data: Data) -> Iterator[Batch]:
    """Yield the training rows of a target, not augmented."""
    for part, stored in data.batches(split_rows(data.rows("train"), BATCH_SIZE)):
        yield data.assemble(part, stored, augment=False)


def _encode_source(
    context: Context, source: GivenSource | None, reference: SourceReference | None
) -> dict[str, Tensor]:
    """Return the source's features of some of its training rows, by modality of the target."""
    if source is None or source.data is None or reference is None:
        raise RuntimeError("asked for only where a source's rows are there")
    rows = choose_source_rows(source.data.rows("train"))
    every = encode_rows(source.model, source.data, rows, context.precision)
    return {
        name: every.features[origin].pooled[every.present[origin]]
        for name, origin in reference.origins.items()
    }


def bind_penalty(
    context: Context,
    model: MultimodalModel,
    opened: Opened,
    start: Start,
    source: GivenSource | None,
) -> Penalty | None:
    """Return the experiment's regulariser, bound to a started target; None if it has none.

    If the penalty has tensors, it becomes part of the model, which trains and saves them.

    Args:
        context: The run's context.
        model: The target's model, started and on its device.
        opened: The target, with the features of its frozen encoders.
        start: How it started.
        source: The source, trained or published.

    Raises:
        TransferError: There is nothing that it could act on.
    """
    regularizer = context.experiment.regularizer
    if regularizer is None:
        return None
    data, target = opened.data, opened.task.target
    whole = None if source is None else source.model.to(context.precision.device)
    origins = context.experiment.transfer.modality_map
    shared, reference = find_regularized(regularizer, model, start, whole, origins)

    def keep(name: str, rows: int, make: Callable[[], list[Tensor]]) -> list[Tensor]:
        if reference is None:
            raise RuntimeError("asked for only where a source is there")
        return cache_channel_weights(context, opened, name, reference.encoder(name), rows, make)

    penalty = regularizer.bind(
        RegularizerContext(
            model,
            shared,
            reference,
            model.encoded_widths,
            target.outputs,
            target.kind,
            partial(_list_training_rows, data),
            partial(_encode_source, context, source, reference),
            context.experiment.settings.seed,
            keep,
        )
    )
    regularizer.equip(model, shared)
    penalty = penalty.to(data.device)
    if penalty.state_dict():
        model.penalty = penalty
    return penalty
