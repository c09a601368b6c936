"""Two tasks in one training loop, under every weighting of their losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmx.errors import Interrupted
from mmx.stages.core.joint_model import find_last_shared, share
from mmx.training.data import make_batches
from mmx.training.loss import BatchLoss, JointLoss
from mmx.training.optimizer import AdamW, Optimizer, Sgd, make_parameter_groups, warmup_cosine
from mmx.training.recipe import Validation
from mmx.training.saved_state import previous
from mmx.training.weighing import SOURCE, TARGET, Weighing
from mmx.transfer.weighting import WEIGHTINGS as KNOWN
from mmx.transfer.weighting import Weighting
from mmx.transfer.weighting.fixed import Fixed
from mmx.transfer.weighting.gradnorm import GradNorm
from mmx.transfer.weighting.uncertainty import Uncertainty

pytestmark = pytest.mark.slow

KINDS = ("classes", "regression")
OPTIONS: dict[str, Callable[[], Weighting]] = {
    "fixed": lambda: Fixed(source_weight=0.3),
    "uncertainty": lambda: Uncertainty(kinds=KINDS),
    "gradnorm": lambda: GradNorm(alpha=1.5, rate=0.1),
}
"""Where the defaults would show too little."""
WEIGHTINGS: dict[str, Callable[[], Weighting]] = {
    **{name: partial(kind.of_kinds, KINDS) for name, kind in KNOWN.items()},
    **OPTIONS,
}
EACH = pytest.mark.parametrize("name", WEIGHTINGS)
BATCH = 8
PLAIN: dict[str, Any] = {"dropout": 0.0, "augment": False}


def joint(bench: Callable[..., Any], weighting: Weighting, **options: Any) -> Any:
    """Return a bench on which a second task trains along: the same rows, scaled labels turned."""
    run = bench(**options)
    beside = bench(**options)
    beside.data.target = (beside.data.target + 1) % 3
    torch.manual_seed(5)
    beside.model.head = nn.Linear(beside.model.head.in_features, 3).to(run.place)
    share(run.model, beside.model)
    run.model.companion = beside.model
    weighting.to(run.place)
    if weighting.state_dict():
        run.model.weighting = weighting
    alone = run.recipe
    joint = JointLoss(
        beside.loss_of, weighting, 3, BATCH, find_last_shared(run.model, beside.model)
    )
    run.recipe = lambda: replace(alone(), joint=joint)
    run.joint = joint
    return run


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def differing(one: dict[str, Tensor], two: dict[str, Tensor]) -> list[str]:
    assert one.keys() == two.keys()
    return [name for name in one if not torch.equal(one[name], two[name])]


# --- a naive second implementation


@dataclass
class Naive:
    """The loop in plain words: one gradient for each task, weights by the papers' formulas."""

    name: str
    run: Any
    lr: float
    decay: float = 0.0
    clip: float | None = None
    rate: float = 0.1
    alpha: float = 1.5

    def __post_init__(self) -> None:
        self.w, self.s = [1.0, 1.0], [0.0, 0.0]
        self.first: list[float] = []
        self.course: list[list[float]] = []
        self.losses: list[float] = []

    def weights(self) -> list[float]:
        if self.name == "uncertainty":
            return [
                torch.tensor(-self.s[0]).exp().item(),
                torch.tensor(-self.s[1]).exp().item() / 2,
            ]
        return [1.0, 0.3] if self.name == "fixed" else self.w

    def norms(self, each: list[list[Tensor | None]], parameters: list[nn.Parameter]) -> list[float]:
        last = {id(p) for p in self.run.joint.last}
        return [
            sum(
                float(g.double().square().sum())
                for p, g in zip(parameters, of_task, strict=True)
                if id(p) in last and g is not None
            )
            ** 0.5
            for of_task in each
        ]

    def step(self, parts: list[tuple[Any, Any]], beside: tuple[Any, Any], part: float) -> None:
        run = self.run
        parameters = [p for n, p in run.model.named_parameters() if not n.startswith("weighting.")]
        rows = sum(len(each) for each, _ in parts)
        own = sum(run.loss_of(each, stored)[0] * (len(each) / rows) for each, stored in parts)
        other, _ = run.joint.loss(*beside)
        found = [own.item(), other.item()]
        each = [torch.autograd.grad(loss, parameters, allow_unused=True) for loss in (own, other)]
        weights = self.weights()
        norms = [w * n for w, n in zip(weights, self.norms(each, parameters), strict=True)]
        total = [
            sum((w * g for w, g in zip(weights, pair, strict=True) if g is not None), start=0.0)
            for pair in zip(*each, strict=True)
        ]
        factor = 1.0
        if self.clip is not None:
            size = sum(float((g * g).sum()) for g in total) ** 0.5
            factor = min(1.0, self.clip / (size + 1e-6))
        with torch.no_grad():
            for parameter, gradient in zip(parameters, total, strict=True):
                if parameter.ndim > 1:
                    parameter -= self.lr * part * self.decay * parameter
                parameter -= self.lr * part * factor * gradient
        self.losses.append(
            sum(w * loss for w, loss in zip(weights, found, strict=True))
            + (sum(self.s) / 2 if self.name == "uncertainty" else 0.0)
        )
        self.move(found, norms, part)
        self.course.append(self.weights())

    def move(self, found: list[float], norms: list[float], part: float) -> None:
        if self.name == "uncertainty":
            slopes = [0.5 - w * loss for w, loss in zip(self.weights(), found, strict=True)]
            self.s = [s - self.lr * part * g for s, g in zip(self.s, slopes, strict=True)]
        if self.name == "gradnorm":
            self.first = self.first or found
            left = [loss / start for loss, start in zip(found, self.first, strict=True)]
            mean = sum(norms) / 2
            for task, norm in enumerate(norms):
                wanted = mean * (left[task] / (sum(left) / 2)) ** self.alpha
                sign = (norm > wanted) - (norm < wanted)
                self.w[task] *= torch.tensor(-self.rate * sign * norm / mean).exp().item()
            self.w = [2 * w / sum(self.w) for w in self.w]

    def epoch(self, epoch: int, accumulate: int, steps: int, total: int) -> None:
        run = self.run
        run.model.train()
        order = run.loss_of.order_rows(run.data.rows("train"), 3, "target", epoch)
        batches = list(run.data.batches(make_batches(order, run.settings.batch_size)))
        asides = run.joint.rows(epoch * steps, steps)
        for step, beside in enumerate(run.joint.loss.data.batches(asides)):
            at = epoch * steps + step
            group = batches[step * accumulate : (step + 1) * accumulate]
            self.step(group, beside, warmup_cosine(at, total, run.settings.warmup))


@EACH
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_a_run_is_as_a_naive_second_implementation_has_it(
    bench, name: str, accumulate: int, clip: float | None
) -> None:
    options: dict[str, Any] = {
        **PLAIN,
        "optimizer": Sgd(lr=0.1, momentum=0.0, weight_decay=0.0),
        "trainer": {"epochs": 2, "accumulate": accumulate, "clip": clip},
    }
    run = joint(bench, WEIGHTINGS[name](), **options)
    scores = iter([0.5, 0.9])  # the last weights are the best
    run.validate = lambda model: Validation({"accuracy": next(scores), "loss": 1.0})
    fitted = run.fit()
    naive = Naive(name, joint(bench, WEIGHTINGS[name](), **options), lr=0.1, clip=clip)
    steps = fitted.steps // 2
    for epoch in range(2):
        naive.epoch(epoch, accumulate, steps, fitted.steps)
    assert list(fitted.weights.values()) == pytest.approx(naive.course[-1], rel=1e-3)
    losses = [values["train.loss"] for _, _, values in run.epochs()]
    expected = [sum(naive.losses[at : at + steps]) / steps for at in (0, steps)]
    assert losses == pytest.approx(expected, rel=1e-3)
    mine, theirs = state(run.model), state(naive.run.model)
    for key in mine:
        if not key.startswith("weighting."):
            torch.testing.assert_close(mine[key], theirs[key], rtol=1e-3, atol=1e-4, msg=key)


def test_the_weights_of_every_epoch_are_said(bench) -> None:
    options: dict[str, Any] = {
        **PLAIN,
        "optimizer": Sgd(lr=0.1, momentum=0.0, weight_decay=0.0),
        "trainer": {"epochs": 3, "clip": None},
    }
    for name, make in WEIGHTINGS.items():
        run = joint(bench, make(), **options)
        fitted = run.fit()
        said = [e for e in run.events if e.kind == "vitals" and "weight.target" in e.values]
        if name == "fixed":
            assert said == []
            assert fitted.weights == pytest.approx({"target": 1.0, "source": 0.3})
            continue
        naive = Naive(name, joint(bench, make(), **options), lr=0.1)
        for epoch in range(3):
            naive.epoch(epoch, 1, 5, 15)
            assert (said[epoch].epoch, said[epoch].step) == (epoch + 1, 5 * (epoch + 1))
            assert said[epoch].values == pytest.approx(
                dict(zip(("weight.target", "weight.source"), naive.course[-1], strict=True)),
                rel=1e-3,
            )
        assert fitted.weights == {
            key.removeprefix("weight."): value for key, value in said[-1].values.items()
        }
        run.state_path.unlink(missing_ok=True)


def test_a_task_that_trains_alone_has_no_weights(bench) -> None:
    run = bench(trainer={"epochs": 1})
    assert run.fit().weights == {}
    loss = torch.tensor(1.5)
    assert Weighing(None)(loss) is loss
    assert Weighing(None).extra_loss() is None


# --- the state


RECIPES: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": AdamW(lr=0.01)},
    "accumulate": {"optimizer": Sgd(), "trainer": {"accumulate": 2, "epochs": 2}},
    "fp16": {"optimizer": Sgd(), "precision": "fp16", "trainer": {"epochs": 2}},
}


@EACH
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_stopped_within_an_epoch_ends_as_if_it_had_not_been(
    bench, stop_after, name: str, recipe: str
) -> None:
    options = RECIPES[recipe]
    whole = joint(bench, WEIGHTINGS[name](), **options)
    fitted = whole.fit()
    for steps in (2, 4):
        first = joint(bench, WEIGHTINGS[name](), **options)
        with pytest.raises(Interrupted):
            first.fit(stop_after(steps))
        second = joint(bench, WEIGHTINGS[name](), **options)
        torch.rand(3)
        again = second.fit()
        assert differing(state(second.model), state(whole.model)) == []
        assert replace(again, seconds=0, samples_per_s=0, history=[]) == replace(
            fitted, seconds=0, samples_per_s=0, history=[]
        )
        said = [(e.step, e.values) for run in (first, second) for e in run.events if e.values]
        assert [each for each in said if "weight.target" in each[1]] == [
            (e.step, e.values) for e in whole.events if "weight.target" in e.values
        ]
        whole.state_path.unlink()


@EACH
def test_a_run_killed_between_two_saves_ends_as_if_it_had_not_been(bench, name: str) -> None:
    options: dict[str, Any] = {"trainer": {"epochs": 2, "checkpoint_seconds": 0}}
    whole = joint(bench, WEIGHTINGS[name](), **options)
    whole.fit()
    for path in (whole.state_path, previous(whole.state_path)):
        path.unlink()
    first = joint(bench, WEIGHTINGS[name](), **options)
    calls, loss = 0, first.joint.loss.criterion.task_loss

    def dies(outputs: Tensor, target: Tensor) -> Tensor:
        nonlocal calls
        calls += outputs.requires_grad
        if calls == 8:  # after the target's backward pass, within the second epoch
            raise KeyboardInterrupt
        found: Tensor = loss(outputs, target)
        return found

    first.joint.loss.criterion.task_loss = dies
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    second = joint(bench, WEIGHTINGS[name](), **options)
    second.fit()
    assert differing(state(second.model), state(whole.model)) == []


def test_weights_that_barely_move_train_as_fixed_ones_to_the_bit(bench) -> None:
    found = []
    for weighting in (Fixed(), GradNorm(rate=1e-30)):
        run = joint(bench, weighting, trainer={"epochs": 2})
        assert run.fit().weights == {"target": 1.0, "source": 1.0}
        found.append({k: v for k, v in state(run.model).items() if not k.startswith("weighting.")})
    assert differing(*found) == []


# --- the optimiser


def test_log_variances_do_not_decay_and_are_not_clipped(bench) -> None:
    run = joint(bench, Uncertainty(kinds=("classes", "classes")))
    groups = make_parameter_groups(run.model, AdamW(weight_decay=0.5), {}, decay=True)
    (group,) = [
        g for g in groups if any(p is run.model.weighting.log_variances for p in g["params"])
    ]
    assert group["weight_decay"] == 0.0
    optimizer: Optimizer = Sgd(lr=1e-9, momentum=0.0, weight_decay=0.0)
    found = []
    for clip in (None, 1e-3):  # the rate is too small to change a loss, so slopes are the same
        run = joint(
            bench,
            Uncertainty(kinds=("classes", "classes")),
            **PLAIN,
            optimizer=optimizer,
            trainer={"epochs": 1, "clip": clip},
        )
        run.fit()
        found.append(state(run.model)["weighting.log_variances"])
    assert found[0].equal(found[1])
    assert (found[0] != 0).all()


# --- gradients told apart


class Heard(GradNorm):
    """Remembers what it is shown."""

    def observe(self, losses: Tensor, norms: Tensor) -> None:
        self.heard = (losses, norms)


def weighing(parameters: list[nn.Parameter]) -> tuple[Weighing, Heard]:
    heard = Heard()
    nothing: Any = None
    loss: BatchLoss = nothing
    return Weighing(JointLoss(loss, heard, 0, 1, tuple(parameters))), heard


@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_gradients_are_told_apart_and_added(scale: float) -> None:
    torch.manual_seed(0)
    a, b, c, d = (nn.Parameter(torch.randn(4)) for _ in range(4))
    weigh, heard = weighing([a, b, c, d])  # a in both tasks, b and c in one each, d in none
    parts = [(a * b).sum() * 0.25, (a * a * b).sum() * 0.75]
    other = (a * c).square().sum()
    expected = torch.autograd.grad(sum(parts) + other, (a, b, c), retain_graph=True)
    norms = [
        torch.cat(torch.autograd.grad(loss, leaves, retain_graph=True)).norm() * scale
        for loss, leaves in ((sum(parts), (a, b)), (other, (a, c)))
    ]
    for part in parts:
        (scale * weigh(part)).backward(retain_graph=True)
    with weigh.separate_gradients():
        (scale * weigh(other, SOURCE)).backward(retain_graph=True)
    losses, found = heard.heard
    torch.testing.assert_close(losses, torch.stack([sum(parts), other]).detach())
    torch.testing.assert_close(found, torch.stack(norms))
    for parameter, gradient in zip((a, b, c), expected, strict=True):
        torch.testing.assert_close(parameter.grad, scale * gradient)
    assert d.grad is None
    with weigh.separate_gradients():  # a new step starts from nothing
        weigh(other, TARGET)
    assert heard.heard[0].tolist() == [other.item(), 0.0]


def test_a_task_without_a_gradient_has_a_norm_of_zero() -> None:
    a = nn.Parameter(torch.ones(2))
    weigh, heard = weighing([a])
    with weigh.separate_gradients():
        weigh(a.sum(), SOURCE).backward()
    assert heard.heard[1].tolist() == [0.0, pytest.approx(2**0.5)]
