"""A small trained source and target, for checks of regularisers that compare the two.

Source: image and tabular, 4 classes. Target: image, tabular and text, 3 classes. Their image
and tabular encoders are built alike; the target's have moved away from the source's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmx.encoders import Encoder
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.tabular.mlp import Mlp
from mmx.encoders.text.embedding_mean import EmbeddingMean
from mmx.fusion.concat import Concat
from mmx.modalities import Batch, Features, Spec
from mmx.modalities.image import ImageSpec
from mmx.modalities.tabular import TabularSpec
from mmx.modalities.text import TokenSpec
from mmx.model import MultimodalModel
from mmx.transfer.regularizers import Penalty, Regularizer, RegularizerContext, Step

TABLE = TabularSpec(("a", "b"), (0.0, 0.0), (1.0, 1.0), (), ())
SPECS: dict[str, Spec] = {
    "text": TokenSpec(("stone", "river", "cloud"), 4),
    "image": ImageSpec(8, 8),
    "tabular": TABLE,
}
ENCODERS: dict[str, Callable[..., Encoder]] = {
    "text": partial(EmbeddingMean, width=5),
    "image": partial(SmallCnn, width=8, depth=2),
    "tabular": partial(Mlp, width=6, hidden=5),
}
SOURCE, TARGET = ("image", "tabular"), ("image", "tabular", "text")
SOURCE_CLASSES, TARGET_CLASSES = 4, 3


class ModelReference:
    """A model as a :class:`~mmx.transfer.regularizers.Reference`."""

    def __init__(self, model: MultimodalModel) -> None:
        self.model = model.eval().requires_grad_(False)
        self.modalities = tuple(model.encoders)
        self.outputs_count = SOURCE_CLASSES

    def features(self, batch: Batch) -> dict[str, Features]:
        """Return f0 of a batch, without gradient."""
        with torch.no_grad():
            return {name: self.model.encode_one(name, batch) for name in self.modalities}

    def decide(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return outputs ``(B, C)`` from features of exactly the source's modalities."""
        if not set(features) == set(present) == set(self.modalities):
            raise ValueError(f"the source decides on {self.modalities}, not on {tuple(features)}")
        return self.model.decide(features, present)

    def decision(self) -> nn.Module:
        """Return a trainable copy of everything after the encoders."""
        return _Decision(copy.deepcopy(self.model))

    def encoder(self, modality: str) -> nn.Module:
        """Return an encoder."""
        return self.model.encoders[modality]


class _Decision(nn.Module):
    """Everything after the encoders, trainable."""

    def __init__(self, model: MultimodalModel) -> None:
        super().__init__()
        model.encoders = nn.ModuleDict()
        self.model = model.requires_grad_(True)

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        return self.model.decide(features, present)


def make_trained_model(names: tuple[str, ...], classes: int, seed: int) -> MultimodalModel:
    """Return a model in float64 whose weights are as after training."""
    torch.manual_seed(seed)
    model = MultimodalModel(
        {name: SPECS[name] for name in names},
        {name: ENCODERS[name] for name in names},
        Concat,
        classes,
    ).double()
    with torch.no_grad():  # training moves statistics and scales away from 0 and 1
        for tensor in model.state_dict().values():
            if tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(torch.rand_like(tensor) / 4)
    return model


def make_batch(rows: int = 24, seed: int = 0, missing: bool = True) -> Batch:
    """Return a batch with NaN where a modality is absent; row 5 has text alone."""
    draw = torch.Generator().manual_seed(seed)
    present = {name: torch.ones(rows, dtype=torch.bool) for name in SPECS}
    if missing:
        present["image"][::5] = False
        present["tabular"][1::4] = False
        present["text"][2::6] = False
    inputs = {
        "image": torch.rand(rows, 3, 8, 8, dtype=torch.float64, generator=draw),
        "tabular": torch.randn(rows, TABLE.width, dtype=torch.float64, generator=draw),
        "text": torch.randint(1, 5, (rows, 4), generator=draw),
    }
    for name in ("image", "tabular"):
        inputs[name][~present[name]] = torch.nan
    return Batch(
        inputs,
        {"text": torch.randint(1, 5, (rows,), generator=draw)},
        present,
        torch.arange(rows) % TARGET_CLASSES,
        complete=frozenset(name for name, here in present.items() if here.all()),
    )


def of_batch(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """Return the batch with ``change`` applied to each tensor."""
    return replace(
        batch,
        inputs={name: change(x) for name, x in batch.inputs.items()},
        lengths={name: change(x) for name, x in batch.lengths.items()},
        present={name: change(x) for name, x in batch.present.items()},
        target=change(batch.target),
    )


@dataclass
class World:
    """A source and a target, as a regulariser receives them.

    Attributes:
        moved: Scale of the noise that is added to the target's shared weights.
        kind: Kind of the target.
        dtype: That of all models and batches.
        batch: A batch of the target.
    """

    moved: float = 0.3
    kind: str = "classes"
    dtype: torch.dtype = torch.float64
    batch: Batch = field(default_factory=make_batch)

    def __post_init__(self) -> None:
        self.source = make_trained_model(SOURCE, SOURCE_CLASSES, seed=1)
        self.model = make_trained_model(TARGET, TARGET_CLASSES, seed=2).eval()
        own = self.model.state_dict()
        for name, tensor in self.source.state_dict().items():
            if name.startswith("encoders."):
                own[name].copy_(tensor)
        self.shared = frozenset(
            name for name in self.source.state_dict() if name in dict(self.model.named_parameters())
        ) - {"head.weight", "head.bias"}
        self.start = copy.deepcopy(self.model)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if name in self.shared:
                    parameter.add_(self.moved * torch.randn_like(parameter))
        self.model.to(self.dtype)
        self.start.to(self.dtype)
        self.reference = ModelReference(self.source.to(self.dtype))
        self.batch = self.cast(self.batch)
        self.source_batch = self.cast(make_batch(rows=40, seed=9))

    def cast(self, batch: Batch) -> Batch:
        """Return the batch with its numbers in the world's dtype."""
        return of_batch(batch, lambda x: x.to(self.dtype) if x.is_floating_point() else x)

    def rows(self) -> Iterator[Batch]:
        """Yield the target's training rows."""
        rows = self.cast(make_batch(rows=30, seed=5))
        for first in (0, 10, 20):
            yield of_batch(rows, lambda x, at=first: x[at : at + 10])  # type: ignore[misc]

    def source_features(self) -> dict[str, Tensor]:
        """Return f0 of the source's own rows."""
        found = self.reference.features(self.source_batch)
        return {name: each.pooled[self.source_batch.present[name]] for name, each in found.items()}

    def make_context(self, **changes: Any) -> RegularizerContext:
        """Return what a regulariser may read when it is bound."""
        return replace(
            RegularizerContext(
                self.model,
                self.shared,
                self.reference,
                self.model.encoded_widths,
                TARGET_CLASSES,
                self.kind,
                self.rows,
                self.source_features,
                11,
            ),
            **changes,
        )

    def bind(self, regularizer: Regularizer, context: RegularizerContext | None = None) -> Penalty:
        """Return the penalty of a target as a run makes it: bound at w0, before the target moves.

        Args:
            regularizer: It has checked and equipped the model already, where it does so.
            context: What it may read; without it, all that there is.
        """
        with self._at_start():
            return regularizer.bind(context or self.make_context()).to(self.dtype)

    @contextmanager
    def _at_start(self) -> Iterator[None]:
        """Give the target its starting weights in the ``with`` block."""
        now, start = (dict(each.named_parameters()) for each in (self.model, self.start))
        moved = {name: now[name].detach().clone() for name in self.shared & now.keys()}
        with torch.no_grad():
            for name in moved:
                now[name].copy_(start[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, values in moved.items():
                    now[name].copy_(values)

    def step(self, batch: Batch | None = None) -> Step:
        """Return the model's step on a batch; without one, on that of the world."""
        batch = batch or self.batch
        features = self.model.encode(batch)
        fused = self.model.fuse(features, batch.present)
        return Step(self.model, batch, features, self.model.head(fused), fused)
