from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mmx.training.optimizer import AdamW, Sgd, make_parameter_groups, set_rates, warmup_cosine
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
