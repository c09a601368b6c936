"""One harness for all methods: each against its formula, written again for one sample at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmx.fusion import Fusion, Widths
from mmx.modalities import Features

OUTPUTS = 2


@dataclass(frozen=True)
class Row:
    """What one sample has: nothing at all of a modality that it lacks.

    ``names`` are all modalities, sorted; ``pooled``, ``tokens`` and ``levels`` hold those
    present, ``tokens`` without padding, ``(T, D)``; ``p`` is the method's parameters by name.
    """

    names: list[str]
    widths: dict[str, Widths]
    pooled: dict[str, Tensor]
    tokens: dict[str, Tensor]
    levels: dict[str, tuple[Tensor, ...]]
    p: dict[str, Tensor]

    def side_by_side(self) -> Tensor:
        """Return the concatenation of the pooled vectors, zeros where absent."""
        zeros = {name: torch.zeros(self.widths[name].pooled) for name in self.names}
        return torch.cat([self.pooled.get(name, zeros[name]) for name in self.names])

    def affine(self, name: str, x: Tensor) -> Tensor:
        """Return W x + b of the linear layer ``name``; without b where it has none."""
        product = self.p[f"{name}.weight"] @ x
        bias = self.p.get(f"{name}.bias")
        return product if bias is None else product + bias


Naive = Callable[[Any, Row], Tensor]


def _check(method: type[Fusion], options: dict[str, Any], naive: Naive, examples: int) -> None:
    @given(
        seed=st.integers(0, 2**31),
        pooled=st.lists(st.integers(1, 4), min_size=1, max_size=4),
        stages=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    )
    @settings(max_examples=examples, deadline=None, derandomize=True)
    def run(seed: int, pooled: list[int], stages: list[int]) -> None:
        _compare(method, options, naive, seed, pooled, stages)

    torch.set_default_dtype(torch.float64)
    try:
        run()
    finally:
        torch.set_default_dtype(torch.float32)


def _compare(
    method: type[Fusion],
    options: dict[str, Any],
    naive: Naive,
    seed: int,
    pooled: list[int],
    stages: list[int],
) -> None:
    """Compare values within 1e-10 and gradients within 1e-8."""
    torch.manual_seed(seed)
    names, rows = list("abcd"[: len(pooled)]), 3
    widths = {
        name: Widths(width, tuple(range(1, depth + 1)))
        for name, width, depth in zip(names, pooled, stages, strict=False)
    }
    if isinstance(given_weights := options.get("weights"), dict):
        options = {**options, "weights": {name: given_weights[name] for name in names}}
    fusion = method(widths, outputs=OUTPUTS, **options).eval()
    for parameter in fusion.parameters():  # what starts equal or at zero: make it differ
        parameter.data.normal_(0, 0.7)
    p = dict(fusion.named_parameters())

    present = torch.rand(rows, len(names)) < 0.6
    present[torch.arange(rows), torch.randint(len(names), (rows,))] = True
    steps = {name: int(torch.randint(1, 5, ())) for name in names}
    lengths = {name: torch.randint(1, steps[name] + 1, (rows,)) for name in names}
    tokens = {n: torch.randn(rows, steps[n], widths[n].pooled, requires_grad=True) for n in names}
    vectors = {name: torch.randn(rows, widths[name].pooled, requires_grad=True) for name in names}
    levels = {name: tuple(torch.randn(rows, w) for w in widths[name].levels) for name in names}
    features = {
        n: Features(tokens[n], torch.arange(steps[n]) < lengths[n][:, None], vectors[n], levels[n])
        for n in names
    }
    output = fusion(features, {name: present[:, m] for m, name in enumerate(names)})

    def one(i: int) -> Tensor:
        here = [name for m, name in enumerate(names) if present[i, m]]
        row = Row(
            names,
            widths,
            {name: vectors[name][i] for name in here},
            {name: tokens[name][i, : lengths[name][i]] for name in here},
            {name: tuple(level[i] for level in levels[name]) for name in here},
            p,
        )
        return naive(fusion, row)

    expected = torch.stack([one(i) for i in range(rows)])
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-10)

    leaves = [*p.values(), *tokens.values(), *vectors.values()]
    cotangent = torch.randn_like(output)
    got = torch.autograd.grad(output, leaves, cotangent, allow_unused=True)
    want = torch.autograd.grad(expected, leaves, cotangent, allow_unused=True)
    for leaf, ours, theirs in zip(leaves, got, want, strict=True):
        ours = torch.zeros_like(leaf) if ours is None else ours
        theirs = torch.zeros_like(leaf) if theirs is None else theirs
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-8)


@pytest.fixture(scope="session")
def formula() -> Callable[..., None]:
    """Return ``check(method, options, naive, examples=15)``.

    ``naive(fusion, row)`` computes the output of one :class:`Row` from the formula, with
    ``row.p`` for the parameters; values and gradients are compared in float64 over random
    numbers of modalities, widths, lengths, encoder stages and missing modalities.
    """

    def check(
        method: type[Fusion], options: dict[str, Any], naive: Naive, examples: int = 15
    ) -> None:
        _check(method, options, naive, examples)

    return check
