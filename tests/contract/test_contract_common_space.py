"""Mappings and imputers that break one promise are caught by its check."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mmx.contract import Part, check_part
from mmx.mapping.linear import Linear
from mmx.mapping.pca import Pca
from mmx.missing.mean import Mean
from mmx.modalities import Encoded, Features

Given = dict[str, Features]
Present = dict[str, Tensor]


class TooWide(Linear):
    def forward(self, features: Given, present: Present) -> Given:
        mapped = super().forward(features, present)
        return {
            n: Features(e.tokens, e.mask, torch.cat([e.pooled] * 2, 1), e.levels)
            for n, e in mapped.items()
        }


class Mixing(Linear):
    def forward(self, features: Given, present: Present) -> Given:
        mapped = super().forward(features, present)
        return {
            n: Features(e.tokens, e.mask, e.pooled.softmax(0), e.levels) for n, e in mapped.items()
        }


class Dead(Linear):
    def __init__(self, widths: dict[str, int], *, width: int = 4) -> None:
        super().__init__(widths, width=width)
        self.unused = nn.Parameter(torch.ones(1))


class Unfixed(Pca):
    """Goes on learning after its fit."""

    def forward(self, features: Given, present: Present) -> Given:
        with torch.no_grad():
            for buffer in self.buffers():
                if buffer.is_floating_point():
                    buffer.mul_(1.01)
        return super().forward(features, present)


class DrawsInFit(Pca):
    def fit(self, train: Encoded, seed: int) -> tuple[str, ...]:
        torch.rand(1)
        return super().fit(train, seed)


class Filling(Mean):
    """Changes rows that are present."""

    def forward(self, features: Given, present: Present) -> tuple[Given, Present]:
        filled, here = super().forward(features, present)
        return {
            name: each.map(lambda x: x * 2 if x.is_floating_point() else x)
            for name, each in filled.items()
        }, here


def failed(kind: type, **options: object) -> list[str]:
    return [each.name for each in check_part(Part(kind, options)) if each.state == "failed"]


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (TooWide, "the stated widths"),
        (Mixing, "rows not mixed"),
        (Dead, "gradients"),
        (DrawsInFit, "fitted once"),
        (Filling, "present rows left alone"),
    ],
)
def test_each_is_caught_by_its_own_check(kind: type, promise: str) -> None:
    found = failed(kind)
    assert promise in found
    assert set(found) <= {promise, "tokens as pooled vectors", "options"}


def test_what_goes_on_learning() -> None:
    assert "fitted once" in failed(Unfixed)
