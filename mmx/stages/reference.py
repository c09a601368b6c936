"""The trained source beside a training target: what regularisers hold the target to."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from mmx.errors import TransferError
from mmx.modalities import Batch, Features
from mmx.model import MultimodalModel
from mmx.stages.context import Context, Trained
from mmx.tasks import Target
from mmx.training.data import Data, chunks
from mmx.training.encode import BATCH_SIZE, encode_rows
from mmx.transfer import Start
from mmx.transfer.regularizers import Given, Penalty

SOURCE_ROWS = 4096
"""Rows of the source, at most, that are encoded to compare distributions with."""


class SourceReference:
    """The source's model, frozen; see :class:`~mmx.transfer.regularizers.Reference`.

    Args:
        source: The trained source's model.
        model: The target's; modalities whose encoders are built alike are compared.
        frozen: Modalities whose encoder never moves: there is nothing to hold.
    """

    def __init__(
        self, source: MultimodalModel, model: MultimodalModel, frozen: frozenset[str]
    ) -> None:
        self.model = source.eval().requires_grad_(False)
        common = (model.encoders.keys() & source.encoders.keys()) - frozen
        self.modalities = tuple(
            name for name in sorted(common) if alike(model.encoders[name], source.encoders[name])
        )
        head = source.state_dict()[source.label_tensors[-1]] if source.label_tensors else None
        self.outputs_count = 0 if head is None else len(head)

    def features(self, batch: Batch) -> dict[str, Features]:
        """Return f0, its features of a target's batch, without gradient."""
        with torch.no_grad():
            return {
                name: self._through_trunk(name, self.model.encode_one(name, batch))
                for name in self.modalities
            }

    def decide(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, C)`` outputs of features through its frozen fusion and head."""
        return self.model.decide(*self._complete(features, present))

    def decision(self) -> nn.Module:
        """Return a trainable copy of all behind its encoders: (features, present) → ``(B, C)``."""
        return Decision(self.model, self.modalities)

    def encoder(self, modality: str) -> nn.Module:
        """Return its encoder of a target's modality."""
        return self.model.encoders[modality]

    def _through_trunk(self, name: str, features: Features) -> Features:
        if self.model.trunk is None:
            return features
        through: Features = self.model.trunk(name, self.model.for_fusion(features))
        return through

    def _complete(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> tuple[dict[str, Features], dict[str, Tensor]]:
        return complete(self.model, {n: features[n] for n in self.modalities}, present)


class Decision(nn.Module):
    """Everything behind a source's encoders, trainable: its old head on new features.

    Args:
        source: The trained source's model, which is copied.
        modalities: Those that features will be given of.
    """

    def __init__(self, source: MultimodalModel, modalities: tuple[str, ...]) -> None:
        super().__init__()
        encoders, source.encoders = source.encoders, nn.ModuleDict()
        self.model = copy.deepcopy(source).requires_grad_(True)
        source.encoders = encoders
        # None of these is behind the encoders: trainable, they would never get a gradient.
        self.model.trunk = self.model.criterion = None
        self.model.penalty = self.model.companion = None
        self.widths = source.widths
        self.modalities = modalities

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, C)`` outputs."""
        given = {name: features[name] for name in self.modalities}
        return self.model.decide(*complete(self.model, given, present))


def complete(
    source: MultimodalModel, features: dict[str, Features], present: dict[str, Tensor]
) -> tuple[dict[str, Features], dict[str, Tensor]]:
    """Return features and presence with the source's other modalities, absent from every row."""
    one = next(iter(features.values())).pooled
    here = {name: present[name] for name in features}
    for name in source.widths.keys() - features.keys():
        pooled = one.new_zeros(len(one), source.encoded_widths[name])
        mask = torch.zeros(len(one), 1, dtype=torch.bool, device=one.device)
        levels = tuple(one.new_zeros(len(one), w) for w in source.widths[name].levels)
        features = {**features, name: Features(pooled[:, None], mask, pooled, levels)}
        here[name] = torch.zeros(len(one), dtype=torch.bool, device=one.device)
    return features, here


def alike(one: nn.Module, other: nn.Module) -> bool:
    """Return whether two modules have tensors of the same names and shapes."""
    shapes = [{k: v.shape for k, v in each.state_dict().items()} for each in (one, other)]
    return shapes[0] == shapes[1]


def bind_penalty(
    context: Context,
    model: MultimodalModel,
    data: Data,
    target: Target,
    start: Start,
    source: Trained | None,
) -> Penalty | None:
    """Return the experiment's regulariser, bound to a started target; None where it has none.

    Where the penalty has a state it becomes part of the model, which trains and saves it.

    Raises:
        TransferError: There is nothing that it could hold.
    """
    regularizer = context.experiment.regularizer
    if regularizer is None:
        return None
    parameters = dict(model.named_parameters())
    shared = (start.shared & parameters.keys()) - start.frozen
    name = type(regularizer).__module__.rsplit(".", 1)[-1]
    reference = None
    if "weights" in regularizer.needs and not shared:
        raise TransferError(f"regularizer={name}: no trained parameter came from the source")
    if regularizer.needs & {"model", "source_rows"}:
        if source is None:
            raise TransferError(f"regularizer={name} needs a trained source")
        whole = source.model.to(context.precision.device)
        reference = SourceReference(whole, model, start.frozen_encoders)
        if not reference.modalities:
            raise TransferError(
                f"regularizer={name}: no encoder of the target that trains is built like one of "
                "the source's",
                tip="regularizer=none",
            )

    def rows() -> Iterator[Batch]:
        for part, stored in data.batches(chunks(data.rows("train"), BATCH_SIZE)):
            yield data.assemble(part, stored, augment=False)

    def source_features() -> dict[str, Tensor]:
        if source is None or reference is None:
            raise RuntimeError("asked for only where a source is there")
        some = source.data.rows("train")
        step = max(1, len(some) // SOURCE_ROWS)
        every = encode_rows(
            source.model, source.data, np.sort(some)[::step][:SOURCE_ROWS], context.precision
        )
        return {
            name: every.features[name].pooled[every.present[name]] for name in reference.modalities
        }

    penalty = regularizer.bind(
        Given(
            model,
            shared,
            reference,
            model.encoded_widths,
            target.outputs,
            target.kind,
            rows,
            source_features,
            context.experiment.settings.seed,
        )
    )
    regularizer.equip(model, shared)
    penalty = penalty.to(data.device)
    if penalty.state_dict():
        model.penalty = penalty
    return penalty
