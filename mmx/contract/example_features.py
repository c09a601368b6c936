"""Made-up features of a few rows, as encoders would say them, some modalities absent.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mmx.fusion import Widths
from mmx.modalities import Encoded, Features

MODALITY_NAMES = ("text", "image", "audio", "tabular")  # unsorted on purpose
ROWS, TOKENS = 8, 5
LEVELS = (2, 4)
COUNTS = (1, 2, 4, 3)
"""Numbers of modalities that are tried; most checks use the last."""
JUNK = (float("nan"), float("inf"), 1e6)


@dataclass(frozen=True)
class FeatureRows:
    """Features of a batch.

    Attributes:
        features: Modality to features of all B rows, also of those that lack it.
        present: Modality to ``(B,)`` bool.
    """

    features: dict[str, Features]
    present: dict[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.present.values())))

    def map(self, change: Callable[[Tensor], Tensor]) -> FeatureRows:
        """Return the rows with every tensor changed."""
        return FeatureRows(
            {name: each.map(change) for name, each in self.features.items()},
            {name: change(here) for name, here in self.present.items()},
        )

    def copy(self) -> FeatureRows:
        """Return a copy of the rows, through which gradients flow back."""
        return self.map(torch.clone)

    def pick(self, rows: Tensor) -> FeatureRows:
        """Return some rows, by number."""
        return self.map(lambda x: x[rows])

    def reverse(self) -> FeatureRows:
        """Return the same with both dicts in the opposite order."""
        return FeatureRows(
            dict(reversed(self.features.items())), dict(reversed(self.present.items()))
        )

    def with_all_present(self) -> FeatureRows:
        """Return the rows with every modality present."""
        return FeatureRows(
            self.features, {n: torch.ones_like(here) for n, here in self.present.items()}
        )

    def fill(self, where: Mapping[str, Tensor], by: float) -> FeatureRows:
        """Return the rows with a modality's numbers replaced by ``by`` where ``where`` is True."""

        def fill_one(name: str) -> Features:
            def change(x: Tensor) -> Tensor:
                if not x.is_floating_point():
                    return x
                # (B,) -> (B, 1, …), to broadcast over tokens and width
                return x.masked_fill(where[name].view(-1, *[1] * (x.dim() - 1)), by)

            return self.features[name].map(change)

        return FeatureRows({name: fill_one(name) for name in self.features}, self.present)

    def fill_absent(self, by: float) -> FeatureRows:
        """Return the rows with ``by`` wherever a modality is absent."""
        return self.fill({name: ~here for name, here in self.present.items()}, by)

    def change_first(self) -> FeatureRows:
        """Return the rows with other numbers in row 0."""
        first = torch.arange(len(self)) == 0
        return self.fill(dict.fromkeys(self.features, first), 7.0)


def make_widths(count: int) -> dict[str, Widths]:
    """Return the widths of ``count`` modalities, all different."""
    return {name: Widths(3 + index, LEVELS) for index, name in enumerate(MODALITY_NAMES[:count])}


def make_features(widths: Mapping[str, Widths], rows: int = ROWS, seed: int = 0) -> FeatureRows:
    """Return random features; rows lack some modality, but never all.

    Args:
        widths: Modality to the widths of its features.
        rows: B.
        seed: Seed of the draws, which do not touch torch's global generator.
    """
    draw = torch.Generator().manual_seed(seed)
    names, features, present = list(widths), {}, {}
    here = torch.rand(rows, len(names), generator=draw) < 0.7
    for row in range(rows):  # in the first rows, each modality is present once and absent once
        if row < 2 * len(names):
            here[row, row % len(names)] = row < len(names) or len(names) == 1
        if not here[row].any():
            here[row, (row + 1) % len(names)] = True
    for index, (name, width) in enumerate(widths.items()):
        tokens = torch.randn(rows, TOKENS, width.pooled, generator=draw)
        lengths = torch.randint(1, TOKENS + 1, (rows, 1), generator=draw)
        pooled = torch.randn(rows, width.pooled, generator=draw)
        levels = tuple(torch.randn(rows, each, generator=draw) for each in width.levels)
        mask = torch.arange(TOKENS) < lengths  # (T,) < (B, 1) -> (B, T)
        features[name] = Features(tokens, mask, pooled, levels)
        present[name] = here[:, index]
    return FeatureRows(features, present)


def make_training_rows(widths: Mapping[str, Widths], rows: int = 60, seed: int = 11) -> Encoded:
    """Return rows of four classes to fit a part on."""
    found = make_features(widths, rows, seed)
    return Encoded(found.features, found.present, torch.arange(rows) % 4)


def list_numbers(features: Features) -> list[Tensor]:
    """Return the tensors of features that hold numbers."""
    return [features.tokens, features.pooled, *features.levels]
