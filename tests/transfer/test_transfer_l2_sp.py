from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmx.transfer.l2_sp import l2_sp

NUMBERS = st.floats(-100, 100, width=32)


class Two(nn.Module):
    """A shared layer ``one`` and a head ``two``."""

    def __init__(self, weight: list[float], bias: list[float]) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.tensor(weight).reshape(2, 2))
        self.two = nn.Parameter(torch.tensor(bias))


def moved(start: Two, weight: list[float], bias: list[float]) -> Two:
    with torch.no_grad():
        start.one.copy_(torch.tensor(weight).reshape(2, 2))
        start.two.copy_(torch.tensor(bias))
    return start


def test_value_of_the_reference() -> None:
    model = Two([1.0] * 4, [0.0] * 2)
    regularizer = l2_sp(model, {"one"}, alpha=1.0, beta=1.0)
    moved(model, [1.0, 2.0, 3.0, 4.0], [0.5, -0.5])
    # ½ (0 + 1 + 4 + 9) + ½ (¼ + ¼)
    assert regularizer(model).item() == 7.25


@settings(max_examples=50, deadline=None)
@given(
    st.lists(NUMBERS, min_size=12, max_size=12),
    st.floats(0, 10),
    st.floats(0, 10),
    st.sets(st.sampled_from(["one", "two"])),
    st.sets(st.sampled_from(["one", "two"]), max_size=1),
)
def test_equals_the_formula(
    numbers: list[float], alpha: float, beta: float, shared: set[str], frozen: set[str]
) -> None:
    model = Two(numbers[:4], numbers[4:6])
    regularizer = l2_sp(model, shared, alpha=alpha, beta=beta)
    moved(model, numbers[6:10], numbers[10:])
    for name in frozen:
        getattr(model, name).requires_grad_(False)
    expected = 0.0
    for name, old, new in (
        ("one", numbers[:4], numbers[6:10]),
        ("two", numbers[4:6], numbers[10:]),
    ):
        if name in frozen:
            continue
        for before, now in zip(old, new, strict=True):
            if name in shared:
                expected += alpha / 2 * (now - before) ** 2
            else:
                expected += beta / 2 * now**2
    assert regularizer(model).item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_gradient_pulls_towards_the_start_and_towards_zero() -> None:
    model = Two([1.0] * 4, [3.0, 3.0])
    regularizer = l2_sp(model, {"one"}, alpha=0.5, beta=0.25)
    moved(model, [1.0, 2.0, 3.0, 4.0], [4.0, -4.0])
    regularizer(model).backward()
    assert model.one.grad is not None
    assert model.two.grad is not None
    assert model.one.grad.flatten().tolist() == [0.0, 0.5, 1.0, 1.5]
    assert model.two.grad.tolist() == [1.0, -1.0]


def test_the_start_is_a_copy() -> None:
    model = Two([1.0] * 4, [0.0] * 2)
    regularizer = l2_sp(model, {"one", "two"}, alpha=1.0, beta=1.0)
    moved(model, [2.0] * 4, [0.0] * 2)
    assert regularizer(model).item() == regularizer(model).item() == 2.0
