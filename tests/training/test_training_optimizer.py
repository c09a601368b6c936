from __future__ import annotations

import copy
import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from mmx.training.optimizer import (
    AdamW,
    Optimizer,
    Sgd,
    make_parameter_groups,
    set_rates,
    warmup_cosine,
)
from mmx.training.trainer import Trainer


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Linear(2, 3)
        self.kernel = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def named(model: nn.Module, groups: list[dict[str, object]]) -> dict[str, tuple[float, float]]:
    """Return parameter name to (peak rate, decay)."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["peak_lr"], group["weight_decay"])
        for group in groups
        for parameter in group["params"]
    }


def test_only_matrices_and_kernels_decay_and_frozen_parameters_are_left_out() -> None:
    model = Small()
    groups = make_parameter_groups(model, AdamW(lr=0.1, weight_decay=0.5), {}, decay=True)
    assert named(model, groups) == {
        "matrix.weight": (0.1, 0.5),
        "matrix.bias": (0.1, 0.0),
        "kernel.weight": (0.1, 0.5),
        "kernel.bias": (0.1, 0.0),
        "norm.weight": (0.1, 0.0),
        "norm.bias": (0.1, 0.0),
    }
    assert len(groups) == 2


def test_rates_are_multiples_and_decay_can_be_turned_off() -> None:
    model = Small()
    rates = {"matrix.weight": 0.5, "frozen.weight": 3.0}
    groups = make_parameter_groups(model, Sgd(lr=0.2, weight_decay=0.5), rates, decay=False)
    found = named(model, groups)
    assert found.pop("matrix.weight") == (0.1, 0.0)
    assert set(found.values()) == {(0.2, 0.0)}


@pytest.mark.parametrize("recipe", [AdamW(lr=0.2), Sgd(lr=0.2), Sgd(momentum=0.0, lr=0.2)])
def test_optimisers_step_at_the_rate_that_was_set(recipe: AdamW | Sgd) -> None:
    model = Small()
    groups = make_parameter_groups(model, recipe, {"matrix.bias": 0.5}, decay=True)
    optimizer = recipe.make(groups, torch.device("cpu"))
    set_rates(optimizer, 0.25)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [0.025, 0.05]
    set_rates(optimizer, 0.25)  # of the peak, not of what it was
    assert max(group["lr"] for group in optimizer.param_groups) == 0.05
    before = model.matrix.weight.detach().clone()
    model.matrix(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.matrix.weight, before)


def test_adamw_takes_its_first_step_by_the_rate_and_decays_apart() -> None:
    weight = nn.Parameter(torch.tensor([[2.0]]))
    model = nn.Module()
    model.register_parameter("weight", weight)
    recipe = AdamW(lr=0.1, weight_decay=0.5)
    optimizer = recipe.make(
        make_parameter_groups(model, recipe, {}, decay=True), torch.device("cpu")
    )
    (weight * 3).sum().backward()
    optimizer.step()
    # The first step of Adam is lr · sign(g); decay takes lr · 0.5 · w first.
    assert weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1)


@pytest.mark.parametrize(
    ("step", "part"),
    [(0, 0.25), (3, 1.0), (4, 1.0), (12, 0.5), (20, 0.0), (8, 0.5 * (1 + math.cos(math.pi / 4)))],
)
def test_rate_rises_linearly_then_falls_as_half_a_cosine(step: int, part: float) -> None:
    assert warmup_cosine(step, 20, 0.2) == pytest.approx(part)


def test_rate_without_warmup_starts_at_its_peak() -> None:
    assert warmup_cosine(0, 10, 0.0) == 1.0
    assert warmup_cosine(5, 10, 0.0) == pytest.approx(0.5)
    assert warmup_cosine(10, 10, 0.0) == 0.0
    assert warmup_cosine(0, 1, 0.0) == 1.0


@pytest.mark.parametrize("warmup", [0.0, 0.2])
def test_rate_stays_at_zero_after_the_last_step(warmup: float) -> None:
    assert [warmup_cosine(step, 20, warmup) for step in (20, 21, 30, 40)] == [0.0] * 4


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_rate_is_always_above_zero_while_training(total: int, warmup: float) -> None:
    rates = [warmup_cosine(step, total, warmup) for step in range(total)]
    assert all(0 < rate <= 1 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_trainer_is_frozen_and_keyword_only() -> None:
    trainer = Trainer(epochs=2)
    with pytest.raises(AttributeError):
        trainer.epochs = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        Trainer(2)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("recipe", "torchs"),
    [
        (AdamW(), partial(torch.optim.AdamW, lr=3e-3, betas=(0.9, 0.999), fused=True)),
        (Sgd(), partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, fused=True)),
    ],
)
def test_optimisers_take_the_steps_of_torchs_own_bit_for_bit(
    recipe: Optimizer, torchs: Callable[..., torch.optim.Optimizer]
) -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(4, 3), torch.randn(6, 4, 3)
    ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    pairs = [
        (ours, recipe.make([{"params": [ours], "weight_decay": 0.1}], torch.device("cpu"))),
        (theirs, torchs([{"params": [theirs], "weight_decay": 0.1}])),
    ]
    for parameter, optimizer in pairs:
        for gradient in gradients[:3]:
            parameter.grad = gradient.clone()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            assert parameter.grad is None
    assert torch.equal(ours, theirs)
    states = [optimizer.state_dict() for _, optimizer in pairs]
    assert states[0].keys() == states[1].keys()
    pairs[0][1].load_state_dict(copy.deepcopy(states[1]))
    for parameter, optimizer in pairs:
        for gradient in gradients[3:]:
            parameter.grad = gradient.clone()
            optimizer.step()
    assert torch.equal(ours, theirs)


STEP = """
import sys, torch
from mmx.training.optimizer import {kind}
weight = torch.nn.Parameter(torch.ones(2, 2))
made = {kind}().make([{{"params": [weight]}}], torch.device("cpu"))
weight.sum().backward()
made.step()
made.zero_grad()
made.load_state_dict(made.state_dict())
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["AdamW", "Sgd"])
def test_a_step_does_not_import_torchs_compiler(kind: str) -> None:
    words = [sys.executable, "-c", STEP.format(kind=kind)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
