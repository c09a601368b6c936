"""Adapted tensors against plain loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmx.transfer.adaptation import (
    adapt,
    adapt_input_channels,
    interpolate_grid_positions,
    interpolate_positions,
)

SIZES = st.integers(1, 5)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive_channels(weight: list[list[float]], channels: int) -> list[list[float]]:
    """Return ``[D][N]`` of ``[D][K]``."""
    if channels == 1:
        return [[sum(row)] for row in weight]
    return [[row[n % len(row)] * len(row) / channels for n in range(channels)] for row in weight]


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, SIZES, st.integers(0, 99))
def test_channels_by_loops(out: int, before: int, after: int, seed: int) -> None:
    weight = drawn(out, before, 1, 2, seed=seed)
    got = adapt_input_channels(weight, after)
    assert got.shape == (out, after, 1, 2)
    for tap in range(2):
        want = naive_channels(weight[:, :, 0, tap].double().tolist(), after)
        torch.testing.assert_close(got[:, :, 0, tap], torch.tensor(want))  # of float32


def test_channels_by_hand() -> None:
    weight = torch.tensor([[1.0, 2.0, 6.0]])[..., None, None]
    assert adapt_input_channels(weight, 1).flatten().tolist() == [9.0]
    assert adapt_input_channels(weight, 2).flatten().tolist() == [1.5, 3.0]
    assert adapt_input_channels(weight, 6).flatten().tolist() == [0.5, 1.0, 3.0, 0.5, 1.0, 3.0]


@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3), (3, 6), (1, 7), (4, 8), (5, 5)])
def test_channels_that_are_alike_are_answered_as_before(before: int, after: int) -> None:
    """Holds where each old channel is tiled equally often, and for the sum."""
    weight, grey = drawn(4, before, 3, 3), drawn(2, 1, 6, 6, seed=1)
    want = torch.conv2d(grey.expand(-1, before, -1, -1), weight)
    got = torch.conv2d(grey.expand(-1, after, -1, -1), adapt_input_channels(weight, after))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def keys_cubic(x: float) -> float:
    """Return the cubic convolution kernel, a = -1/2."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def cubic_weights(before: int, after: int) -> list[list[float]]:
    """Return ``[after][before]``: the kernel widened where the grid shrinks, normalised."""
    scale = before / after
    wide = max(scale, 1.0)
    rows = []
    for i in range(after):
        centre = (i + 0.5) * scale
        row = [keys_cubic((j + 0.5 - centre) / wide) for j in range(before)]
        rows.append([weight / sum(row) for weight in row])
    return rows


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_grid_by_loops(before: int, after: int, seed: int) -> None:
    embedding = drawn(1, 1 + before**2, 2, seed=seed)
    got = interpolate_grid_positions(embedding, after)
    assert got.shape == (1, 1 + after**2, 2)
    assert torch.equal(got[:, 0], embedding[:, 0])
    weights = cubic_weights(before, after)
    for d in range(2):
        grid = embedding[0, 1:, d].double().tolist()
        for y in range(after):
            for x in range(after):
                want = sum(
                    weights[y][v] * weights[x][u] * grid[v * before + u]
                    for v in range(before)
                    for u in range(before)
                )
                assert got[0, 1 + y * after + x, d].item() == pytest.approx(want, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 99))
def test_sequence_by_loops(before: int, after: int, seed: int) -> None:
    embedding = drawn(1, before, 3, seed=seed)
    got = interpolate_positions(embedding, after)
    assert got.shape == (1, after, 3)
    for i in range(after):
        place = min(max((i + 0.5) * before / after - 0.5, 0.0), before - 1.0)
        low = math.floor(place)
        high, part = min(low + 1, before - 1), place - low
        want = embedding[0, low].double() * (1 - part) + embedding[0, high].double() * part
        torch.testing.assert_close(got[0, i].double(), want, rtol=0, atol=1e-5)


def test_half_precision_stays_half() -> None:
    embedding = drawn(1, 5, 2).to(torch.bfloat16)
    assert interpolate_grid_positions(embedding, 3).dtype == torch.bfloat16
    assert interpolate_positions(embedding, 3).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("before", "after", "follows", "words"),
    [
        ((4, 3, 3, 3), (4, 1, 3, 3), "channels", "summed over 3 input channels"),
        ((4, 3, 3, 3), (4, 4, 3, 3), "channels", "3 input channels tiled to 4, times 0.75"),
        ((4, 1, 3), (4, 3, 3), "channels", "1 input channel tiled to 3, times 0.333"),
        ((1, 5, 8), (1, 10, 8), "grid", "positions interpolated from 2×2 to 3×3, class token kept"),
        ((1, 5, 8), (1, 10, 8), "sequence", "positions interpolated from 5 to 10"),
    ],
)
def test_what_fits_says_how(
    before: tuple[int, ...], after: tuple[int, ...], follows: str, words: str
) -> None:
    changed = adapt(drawn(*before), torch.Size(after), follows)
    assert changed is not None
    assert changed[0].shape == after
    assert changed[1] == words


@pytest.mark.parametrize(
    ("before", "after", "follows"),
    [
        ((4, 3, 3, 3), (8, 1, 3, 3), "channels"),  # other filters
        ((4, 3, 3, 3), (4, 1, 5, 5), "channels"),  # another kernel
        ((4, 3, 3, 3), (4, 1, 3), "channels"),
        ((4, 3), (4, 1), "channels"),  # a matrix has inputs, not channels
        ((1, 5, 8), (1, 10, 4), "grid"),
        ((1, 5, 8), (1, 9, 8), "grid"),  # 8 patches are no square
        ((1, 4, 8), (1, 10, 8), "grid"),
        ((1, 1, 8), (1, 10, 8), "grid"),  # a class token alone
        ((1, 5, 8), (1, 5, 9), "sequence"),
        ((1, 5, 8, 1), (1, 6, 8, 1), "sequence"),
        ((1, 5, 8, 1), (1, 10, 8, 1), "grid"),
    ],
)
def test_what_does_not_fit(before: tuple[int, ...], after: tuple[int, ...], follows: str) -> None:
    assert adapt(drawn(*before), torch.Size(after), follows) is None
