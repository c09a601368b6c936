"""The model: encoders → trunk → mapping → missing → fusion → head.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width, ``C`` outputs, ``N`` rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmx.encoders import Encoder
from mmx.fusion import Fusion, Widths
from mmx.fusion.match import merge_heads
from mmx.mapping import Mapping as CommonSpace
from mmx.missing import Missing
from mmx.missing.base import Shape
from mmx.missing.mask import Mask
from mmx.modalities import Batch, Features, Spec
from mmx.objectives import Criterion, ModelOutput
from mmx.sharing import Sharing


@dataclass(frozen=True)
class Parts:
    """What stands between encoders and fusion, all of it optional.

    Attributes:
        sharing: Which modalities share a trunk; None for no trunk.
        mapping: ``make(widths)`` of a mapping to a common space; None for none.
        missing: ``make(shapes)`` of what stands in for absent modalities.
        head: ``make(width, outputs)`` of what turns fused features into outputs.
    """

    sharing: Sharing | None = None
    mapping: Callable[[dict[str, int]], CommonSpace] | None = None
    missing: Callable[[dict[str, Shape]], Missing] = Mask
    head: Callable[[int, int], nn.Module] = nn.Linear


class MultimodalModel(nn.Module):
    """One encoder for each modality, a fusion of their features, and a linear head.

    Args:
        specs: Modality to what was learned of its input.
        encoders: Modality to ``make(spec)``.
        fusion: ``make(widths, outputs=C)``.
        outputs: C.
        parts: What stands between encoders and fusion.

    Attributes:
        criterion: The objective, where it has parameters that train with the model.
        penalty: The regulariser, where it has parameters that train with the model.
        companion: The model of the source of joint training; the name of its tensors on disk.
        weighting: What weighs the losses of both, where it learns to.
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
        made = {name: encoders[name](specs[name]) for name in sorted(specs)}
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

    @property
    def label_tensors(self) -> tuple[str, ...]:
        """Names of the tensors that hold one row for each output."""
        if self.fusion.decides:
            return tuple(f"fusion.{name}" for name in self.fusion.label_tensors)
        return ("head.weight", "head.bias") if isinstance(self.head, nn.Linear) else ()

    def encode(self, batch: Batch) -> dict[str, Features]:
        """Return the features of every modality; rows where it is absent hold anything."""
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
        """Return ``(B, D)`` of encoded features: everything between encoders and head."""
        joined: Tensor = self.fusion(*self.missing(self.map_features(features, present), present))
        return joined

    def decide(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, C)`` outputs of encoded features: everything behind the encoders."""
        outputs: Tensor = self.head(self.fuse(features, present))
        return outputs

    def forward(self, batch: Batch) -> Tensor:
        """Return ``(B, C)`` outputs."""
        return self.decide(self.encode(batch), batch.present)

    def output(self, features: dict[str, Features], present: dict[str, Tensor]) -> ModelOutput:
        """Return what an objective may ask of encoded features."""
        pooled = {name: each.pooled for name, each in features.items()}
        fused = self.fuse(features, present)
        return ModelOutput(self.head(fused), pooled, present, fused)

    def for_fusion(self, features: Features) -> Features:
        """Return the features, with one token where the fusion reads none."""
        if self.fusion.reads == "tokens":
            return features
        return without_tokens(features)

    def encode_one(self, name: str, batch: Batch) -> Features:
        """Encode the rows that have the modality, so that absent ones touch no statistics."""
        encoder = self.encoders[name]
        x, lengths = batch.inputs[name], batch.lengths.get(name)
        if name in batch.complete:
            features: Features = encoder(x, lengths)
            return features
        rows = batch.present[name].nonzero().squeeze(1)
        if len(rows) == 0:
            widths = self.widths[name]
            levels = tuple(torch.zeros(len(x), width, device=x.device) for width in widths.levels)
            pooled = torch.zeros(len(x), widths.pooled, device=x.device)
            mask = torch.zeros(len(x), 1, dtype=torch.bool, device=x.device)
            return Features(pooled.unsqueeze(1), mask, pooled, levels)
        with _keep_statistics(encoder) if len(rows) == 1 else nullcontext():
            features = encoder(x[rows], None if lengths is None else lengths[rows])

        def scatter(part: Tensor) -> Tensor:
            return part.new_zeros(len(x), *part.shape[1:]).index_copy(0, rows, part)

        return features.map(scatter)


class NoFusion(Fusion):
    """Stands where an objective needs neither fusion nor head: ``(B, 0)`` outputs.

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
    """Return the widths that the fusion sees: those after trunk and mapping, and the levels."""
    return {name: Widths(pooled[name], each.levels) for name, each in encoded.items()}


def without_tokens(features: Features) -> Features:
    """Return the features with the pooled vector as their only token."""
    mask = features.mask.any(1, keepdim=True)
    return Features(features.pooled[:, None], mask, features.pooled, features.levels)


@contextmanager
def _keep_statistics(module: nn.Module) -> Iterator[None]:
    """Evaluate for a while: one row alone has no variance to normalise by."""
    modes = [(part, part.training) for part in module.modules()]
    _rest(module)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def set_training_mode(
    model: MultimodalModel, frozen: frozenset[str], frozen_statistics: frozenset[str] = frozenset()
) -> None:
    """Put the model in training mode, all of its frozen parts in evaluation mode.

    Frozen means frozen: the BatchNorm statistics and the dropout of a module whose every
    parameter is frozen do not move either.

    Args:
        model: To be trained.
        frozen: Names of parameters that do not train.
        frozen_statistics: Names of modules with statistics that do not change, though their
            parameters may train.
    """
    model.train()
    for prefix, module in model.named_modules():
        names = [f"{prefix}.{name}" if prefix else name for name, _ in module.named_parameters()]
        if (names and all(name in frozen for name in names)) or prefix in frozen_statistics:
            _rest(module)


def _rest(module: nn.Module) -> None:
    """Put a module in evaluation mode, all but recurrent layers that compute the same in both.

    What is before them may train, and cuDNN propagates gradients in training mode alone.
    """
    module.eval()
    for part in module.modules():
        if isinstance(part, nn.RNNBase) and not part.dropout:
            part.train()
