"""The model: encoders → trunk → mapping → missing → fusion → head.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width, ``C`` outputs, ``N`` rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mmx.encoders import Encoder
from mmx.encoders.narrow_convolutions import guard_narrow_convolutions
from mmx.errors import ProcessError
from mmx.fusion import Fusion, Widths
from mmx.fusion.match import merge_heads
from mmx.mapping import Mapping as CommonSpace
from mmx.missing import Missing
from mmx.missing.base import Shape
from mmx.missing.mask import Mask
from mmx.modalities import Batch, Features, Spec
from mmx.modalities.row_groups import RowGroup, group_by_length, join_groups
from mmx.objectives import Criterion, ModelOutput
from mmx.processes import current_group
from mmx.sharing import Sharing


@dataclass(frozen=True)
class Parts:
    """The optional parts around the fusion: sharing, mapping, missing and head.

    Attributes:
        sharing: Which modalities share a trunk; None for no trunk.
        mapping: ``make(widths)`` of a mapping to a common space; None for none.
        missing: ``make(shapes)`` of the treatment of absent modalities.
        head: ``make(width, outputs)`` of the layer that turns fused features into outputs.
        encoder_groups: Input to its group; the inputs of a group have one encoder.
    """

    sharing: Sharing | None = None
    mapping: Callable[[dict[str, int]], CommonSpace] | None = None
    missing: Callable[[dict[str, Shape]], Missing] = Mask
    head: Callable[[int, int], nn.Module] = nn.Linear
    encoder_groups: Mapping[str, str] = field(default_factory=dict)


class MultimodalModel(nn.Module):
    """One encoder for each modality, a fusion of their features, and a linear head.

    Args:
        specs: Modality to its spec, learned from training rows.
        encoders: Modality to ``make(spec)``.
        fusion: ``make(widths, outputs=C)``.
        outputs: C.
        parts: The optional parts.

    Attributes:
        criterion: The objective, where it has parameters that train with the model.
        penalty: The regulariser, where it has parameters that train with the model.
        companion: The source's model in joint training; on disk its tensors are ``companion.…``.
        weighting: Weighs the losses of source and target, where its weights are learned.
    """

    def __init__(
        self,
        specs: Mapping[str, Spec],
        encoders: Mapping[str, Callable[..., Encoder]],
        fusion: Callable[..., Fusion],
        outputs: int,
        parts: Parts = Parts(),
    ) -> None:
        super().__init__()
        # Sorted: initial weights are drawn in this order, and must not depend on that of a dict.
        made = _make_encoders(specs, encoders, parts.encoder_groups)
        self.widths = {
            name: Widths(each.width, tuple(each.level_widths)) for name, each in made.items()
        }
        self.encoders = nn.ModuleDict(made)
        pooled = {name: width.pooled for name, width in self.widths.items()}
        self.trunk = None if parts.sharing is None else parts.sharing.make_layers(pooled)
        if self.trunk is not None:
            pooled = dict.fromkeys(pooled, self.trunk.width)
        self.encoded_widths = pooled
        self.mapping = None if parts.mapping is None else parts.mapping(pooled)
        fused = fusion_widths(self.widths, self.mapping.widths if self.mapping else pooled)
        self.missing = parts.missing({n: Shape(w.pooled, w.levels) for n, w in fused.items()})
        self.fusion = fusion(fused, outputs=outputs)
        if parts.sharing is not None and parts.sharing.classifier:
            merge_heads(self.fusion)
        self.head: nn.Module = (
            nn.Identity() if self.fusion.decides else parts.head(self.fusion.width, outputs)
        )
        self.criterion: Criterion | None = None
        self.penalty: nn.Module | None = None
        self.companion: MultimodalModel | None = None
        self.weighting: nn.Module | None = None
        self.calibration: nn.Module | None = None

    @property
    def label_tensors(self) -> tuple[str, ...]:
        """Names of the tensors that hold one row for each output."""
        if self.fusion.decides:
            return tuple(f"fusion.{name}" for name in self.fusion.label_tensors)
        return ("head.weight", "head.bias") if isinstance(self.head, nn.Linear) else ()

    def encode(self, batch: Batch) -> dict[str, Features]:
        """Return the features of every modality; rows that lack it hold arbitrary numbers."""
        features = {
            name: batch.features[name] if name in batch.features else self.encode_one(name, batch)
            for name in self.encoders
        }
        if self.trunk is None:
            return features
        return {name: self.trunk(name, self.for_fusion(each)) for name, each in features.items()}

    def map_features(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> dict[str, Features]:
        """Return encoded features in the common space, where there is a mapping to one."""
        features = {name: self.for_fusion(each) for name, each in features.items()}
        if self.mapping is None:
            return features
        found: dict[str, Features] = self.mapping(features, present)
        return found

    def fuse(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return fused features ``(B, D)``: trunk output through mapping, missing and fusion."""
        joined: Tensor = self.fusion(*self.missing(self.map_features(features, present), present))
        return joined

    def decide(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return outputs ``(B, C)`` of encoded features: everything after the encoders."""
        outputs: Tensor = self.head(self.fuse(features, present))
        return outputs if self.calibration is None else self.calibration(outputs)

    def forward(self, batch: Batch) -> Tensor:
        """Return ``(B, C)`` outputs."""
        return self.decide(self.encode(batch), batch.present)

    def output(self, features: dict[str, Features], present: dict[str, Tensor]) -> ModelOutput:
        """Return what an objective may read: outputs, pooled vectors, presence, fused features."""
        pooled = {name: each.pooled for name, each in features.items()}
        fused = self.fuse(features, present)
        return ModelOutput(self.head(fused), pooled, present, fused)

    def for_fusion(self, features: Features) -> Features:
        """Return features as the fusion reads them: one token where it reads pooled vectors."""
        if self.fusion.reads == "tokens":
            return features
        return without_tokens(features)

    def encode_one(self, name: str, batch: Batch) -> Features:
        """Encode the rows that have the modality; others must not enter BatchNorm statistics."""
        encoder = self.encoders[name]
        x, lengths = batch.inputs[name], batch.lengths.get(name)
        groups = None if lengths is None else group_by_length(x, lengths)
        if groups is not None:
            return self._encode_groups(encoder, x, lengths, groups)
        if name in batch.complete:
            features: Features = encoder(x, lengths)
            return features
        rows = batch.present[name].nonzero().squeeze(1)
        if len(rows) == 0:  # an encoder may fail on an empty batch: return zeros, one masked token
            widths = self.widths[name]
            levels = tuple(torch.zeros(len(x), width, device=x.device) for width in widths.levels)
            pooled = torch.zeros(len(x), widths.pooled, device=x.device)
            mask = torch.zeros(len(x), 1, dtype=torch.bool, device=x.device)
            return Features(pooled.unsqueeze(1), mask, pooled, levels)
        with _keep_statistics(encoder) if len(rows) == 1 else nullcontext():
            features = encoder(x[rows], None if lengths is None else lengths[rows])

        # (n present rows, …) -> (B, …), with zeros in the absent rows.
        def scatter(part: Tensor) -> Tensor:
            return part.new_zeros(len(x), *part.shape[1:]).index_copy(0, rows, part)

        return features.map(scatter)

    def _encode_groups(
        self, encoder: nn.Module, x: Tensor, lengths: Tensor | None, groups: list[RowGroup]
    ) -> Features:
        """Return the features of rows that are encoded group by group, zeros in the other rows.

        Raises:
            ProcessError: Other processes wait in the same layers for their rows.
        """
        if current_group().shares_step:
            raise ProcessError(
                "rows of a batch have very different lengths and are encoded in groups, which "
                "batch norm over all processes cannot follow",
                tip="trainer.sync_batch_norm=false",
            )
        parts = []
        for group in groups:
            one = len(group.rows) == 1
            given = None if lengths is None else lengths[group.rows]
            with _keep_statistics(encoder) if one else nullcontext():
                parts.append(self.for_fusion(encoder(x[group.rows, : group.steps], given)))
        return join_groups(parts, groups, len(x))


def _make_encoders(
    specs: Mapping[str, Spec],
    encoders: Mapping[str, Callable[..., Encoder]],
    groups: Mapping[str, str],
) -> dict[str, Encoder]:
    """Return the encoder of each input: one module for all inputs of a group.

    Raises:
        ValueError: Inputs of a group are read in different ways.
    """
    made: dict[str, Encoder] = {}
    first: dict[str, str] = {}
    for name in sorted(specs):
        shared = first.setdefault(groups[name], name) if name in groups else name
        if specs[shared] != specs[name]:
            raise ValueError(
                f"{shared} and {name} share an encoder, and are read in different ways"
            )
        if shared not in made:
            made[shared] = guard_narrow_convolutions(encoders[name](specs[name]))
        made[name] = made[shared]
    return made


class NoFusion(Fusion):
    """Replaces fusion and head where the objective reads neither: outputs ``(B, 0)``.

    Args:
        widths: Modality to widths.
        outputs: Not used.
    """

    level = "decision"

    def __init__(self, widths: dict[str, Widths], *, outputs: int) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = 0

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return no outputs for each row."""
        first = features[self.modalities[0]].pooled
        return first.new_zeros(len(first), 0)


def fusion_widths(encoded: dict[str, Widths], pooled: dict[str, int]) -> dict[str, Widths]:
    """Return the widths of the fusion's inputs: pooled after trunk and mapping, and levels."""
    return {name: Widths(pooled[name], each.levels) for name, each in encoded.items()}


def without_tokens(features: Features) -> Features:
    """Return the features with the pooled vector as their only token."""
    mask = features.mask.any(1, keepdim=True)
    return Features(features.pooled[:, None], mask, features.pooled, features.levels)


@contextmanager
def _keep_statistics(module: nn.Module) -> Iterator[None]:
    """Use evaluation mode in the ``with`` block: BatchNorm cannot normalise a single row."""
    modes = [(part, part.training) for part in module.modules()]
    _rest(module)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def set_encoders_aside(model: MultimodalModel, names: Collection[str]) -> Iterator[None]:
    """Put empty modules in the place of encoders in the ``with`` block, in which none is run.

    Where features were computed before, steps, copies and states of a large encoder's tensors
    would cost far more than the training of what follows it. In joint training the source runs
    the encoders that both tasks share, so that none is set aside.

    Args:
        model: The model.
        names: Modalities whose features are given in each batch.
    """
    whole = model.companion is None
    aside = {name: each for name, each in model.encoders.items() if whole and name in names}
    try:
        model.encoders.update({name: nn.Module() for name in aside})
        yield
    finally:
        model.encoders.update(aside)


def set_training_mode(
    model: MultimodalModel, frozen: frozenset[str], frozen_statistics: frozenset[str] = frozenset()
) -> None:
    """Put the model in training mode, but its frozen modules in evaluation mode.

    Where every parameter of a module is frozen, its BatchNorm statistics stay as they are too,
    and its dropout drops nothing.

    Args:
        model: The model to train.
        frozen: Names of parameters that do not train.
        frozen_statistics: Names of modules with statistics that do not change, though their
            parameters may train.
    """
    model.train()
    if not (frozen or frozen_statistics):  # looking at each module would take as long as a step
        return
    resting: str | None = None
    for prefix, module in model.named_modules():  # a module comes before those within it
        if resting is not None and prefix.startswith(resting):
            continue
        if prefix in frozen_statistics or _is_frozen(prefix, module, frozen):
            _rest(module)
            resting = f"{prefix}." if prefix else ""


def _is_frozen(prefix: str, module: nn.Module, frozen: frozenset[str]) -> bool:
    """Return whether a module has parameters, and all of them are frozen."""
    start, found = f"{prefix}." if prefix else "", False
    for name, _ in module.named_parameters():
        if f"{start}{name}" not in frozen:
            return False
        found = True
    return found


def _rest(module: nn.Module) -> None:
    """Put a module in evaluation mode, except recurrent layers that compute the same in both.

    Layers before them may train, and cuDNN computes gradients of recurrent layers in training
    mode only.
    """
    module.eval()
    for part in module.modules():
        if isinstance(part, nn.RNNBase) and not part.dropout:
            part.train()
