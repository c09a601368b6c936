"""The model: encoders → fusion → head.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width, ``C`` outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from mmx.encoders import Encoder
from mmx.fusion import Fusion, Widths
from mmx.modalities import Batch, Features, Spec


class MultimodalModel(nn.Module):
    """One encoder for each modality, a fusion of their features, and a linear head.

    Args:
        specs: Modality to what was learned of its input.
        encoders: Modality to ``make(spec)``.
        fusion: ``make(widths, outputs=C)``.
        outputs: C.
    """

    def __init__(
        self,
        specs: Mapping[str, Spec],
        encoders: Mapping[str, Callable[..., Encoder]],
        fusion: Callable[..., Fusion],
        outputs: int,
    ) -> None:
        super().__init__()
        made = {name: encoders[name](specs[name]) for name in sorted(specs)}
        self.widths = {
            name: Widths(each.width, tuple(each.level_widths)) for name, each in made.items()
        }
        self.encoders = nn.ModuleDict(made)
        self.fusion = fusion(self.widths, outputs=outputs)
        decides = self.fusion.level == "decision"
        self.head: nn.Module = nn.Identity() if decides else nn.Linear(self.fusion.width, outputs)

    @property
    def label_tensors(self) -> tuple[str, ...]:
        """Names of the tensors that hold one row for each output."""
        if self.fusion.level == "decision":
            return tuple(f"fusion.{name}" for name in self.fusion.label_tensors)
        return ("head.weight", "head.bias")

    def encode(self, batch: Batch) -> dict[str, Features]:
        """Return the features of every modality; rows where it is absent hold zeros."""
        return {
            name: batch.features[name] if name in batch.features else self.encode_one(name, batch)
            for name in self.encoders
        }

    def forward(self, batch: Batch) -> Tensor:
        """Return ``(B, C)`` outputs."""
        outputs: Tensor = self.head(self.fusion(self.encode(batch), batch.present))
        return outputs

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
        with _statistics_kept(encoder) if len(rows) == 1 else nullcontext():
            features = encoder(x[rows], None if lengths is None else lengths[rows])

        def scatter(part: Tensor) -> Tensor:
            return part.new_zeros(len(x), *part.shape[1:]).index_copy(0, rows, part)

        return features.map(scatter)


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Evaluate for a while: one row alone has no variance to normalise by."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def set_training_mode(model: MultimodalModel, frozen: frozenset[str]) -> None:
    """Put the model in training mode, all of its frozen parts in evaluation mode.

    Frozen means frozen: the BatchNorm statistics and the dropout of a module whose every
    parameter is frozen do not move either.
    """
    model.train()
    for prefix, module in model.named_modules():
        names = [f"{prefix}.{name}" if prefix else name for name, _ in module.named_parameters()]
        if names and all(name in frozen for name in names):
            module.eval()
