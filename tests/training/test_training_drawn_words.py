"""How many words of torch's generator a draw takes, and going on behind it without the draw."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from mmx.training.drawn_words import can_skip_words, count_drawn_words, skip_words

DRAWS: dict[str, Callable[[], object]] = {
    "linear": lambda: nn.Linear(30, 77),
    "convolution": lambda: nn.Conv2d(3, 64, 7),
    "embedding": lambda: nn.Embedding(500, 33),
    "truncated": lambda: nn.init.trunc_normal_(torch.empty(50, 70)),
    "orthogonal": lambda: nn.init.orthogonal_(torch.empty(40, 20)),
    "permutation": lambda: torch.randperm(1000),
    "doubles": lambda: torch.rand(9, dtype=torch.float64),
    "layers": lambda: nn.TransformerEncoderLayer(16, 2, 64),
    "nothing": lambda: nn.BatchNorm2d(8),
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("before", [0, 1, 623, 624, 1000])
def test_the_generator_goes_on_as_after_the_draw(name: str, before: int) -> None:
    torch.manual_seed(11)
    untouched = torch.get_rng_state()
    words = count_drawn_words(DRAWS[name], 10**6)
    assert torch.equal(torch.get_rng_state(), untouched)
    assert words is not None
    skip_words(before)
    DRAWS[name]()
    expected = torch.get_rng_state()
    torch.manual_seed(11)
    skip_words(before)
    assert can_skip_words()
    skip_words(words)
    assert torch.equal(torch.get_rng_state(), expected)
    assert (words == 0) == (name == "nothing")


def test_known_counts() -> None:
    assert count_drawn_words(lambda: torch.rand(100), 10**4) == 100
    assert count_drawn_words(lambda: torch.rand(9, dtype=torch.float64), 10**4) == 18
    assert count_drawn_words(lambda: torch.randn(4992), 10**4) == 4992


def draw_until_large() -> None:
    while float(torch.rand(20).max()) < 0.9:
        pass


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.randn(3),  # keeps a normal draw for the next call
        draw_until_large,
        lambda: (torch.rand(3), random.random()),
        lambda: (torch.rand(3), np.random.rand(2)),  # noqa: NPY002
        lambda: torch.rand(10**5),  # more than may be counted
    ],
)
def test_what_cannot_be_skipped(draw: Callable[[], object]) -> None:
    assert count_drawn_words(draw, 10**4) is None


def test_a_kept_normal_draw_is_seen() -> None:
    torch.manual_seed(0)
    assert can_skip_words()
    torch.randn(1)
    assert not can_skip_words()
