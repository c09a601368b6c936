"""What is frozen stays as it is to the last bit, and thaws in its epoch, also in a resumed run."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmx.errors import DeadParameterError, Interrupted
from mmx.model import MultimodalModel
from mmx.training.events import StopRequest
from mmx.training.fit import fit
from mmx.training.optimizer import AdamW, Optimizer, Sgd, make_parameter_groups
from mmx.training.recipe import Validation
from mmx.transfer import Source, Start
from mmx.transfer.parameter import Parameter
from mmx.transfer.regularizers import Penalty, Step

CLASSES = ("low", "middle", "high")
Weights = dict[str, Tensor]


def weights(model: nn.Module) -> Weights:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(one: Weights, two: Weights) -> set[str]:
    assert one.keys() == two.keys()
    return {name for name in one if not torch.equal(one[name], two[name])}


def begin(model: MultimodalModel, **options: Any) -> Start:
    """Start as from a source that was drawn by another seed."""
    torch.manual_seed(5)
    state = {
        name: torch.rand_like(tensor) + 0.5 if tensor.is_floating_point() else tensor + 7
        for name, tensor in model.state_dict().items()
        if name.startswith("encoders.")
    }
    state = {n: t * 0.2 if t.ndim > 1 else t for n, t in state.items()}
    return Parameter(**options).start(Source(state, ()), model, CLASSES)


class Watched:
    """An optimiser that is looked at: its state, and its rates at every step."""

    def __init__(self, recipe: Optimizer) -> None:
        self.recipe, self.lr, self.weight_decay = recipe, recipe.lr, recipe.weight_decay
        self.rates: list[list[float]] = []

    def make(self, groups: list[dict[str, Any]], device: torch.device) -> torch.optim.Optimizer:
        self.made = self.recipe.make(groups, device)

        def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            self.rates.append([group["lr"] for group in optimizer.param_groups])

        self.made.register_step_pre_hook(look)
        return self.made


def parameters_of(run: Any, watched: Watched) -> dict[str, int]:
    """Return the optimiser's parameters by name, and the group each is in."""
    names = {id(parameter): name for name, parameter in run.model.named_parameters()}
    groups = watched.made.param_groups
    return {names[id(p)]: k for k, group in enumerate(groups) for p in group["params"]}


OPTIMIZERS = {"adamw": AdamW(weight_decay=0.5), "sgd": Sgd(weight_decay=0.5)}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    "options",
    [
        {"freeze_depth": 1},
        {"freeze_depth": 2},
        {"freeze": ("encoders.image.*", "*.layers.1.*")},
        {"freeze": ("*.weight",)},
        {"freeze_depth": 1, "unfreeze_every": 1},
        {"batch_norm": "eval"},
        {"batch_norm": "frozen"},
        {"batch_norm": "frozen", "freeze_depth": 1},
        {"freeze": ("*running_mean",)},
    ],
)
def test_frozen_is_the_same_to_the_last_bit_after_training(
    bench: Callable[..., Any], options: dict[str, Any], optimizer: str
) -> None:
    watched = Watched(OPTIMIZERS[optimizer])
    run = bench(optimizer=watched)
    frozen: set[str] = set()
    kept: list[Weights] = []

    def start(model: MultimodalModel) -> Start:
        found = begin(model, **options)
        frozen.update(found.report.frozen)
        kept.append(weights(model))
        return found

    validate = run.validate
    run.start = start
    run.validate = lambda model: (kept.append(weights(model)), validate(model))[1]
    run.fit()
    before, *ends = kept
    assert frozen
    for after in [*ends, weights(run.model)]:
        moved = changed(before, after)
        assert moved.isdisjoint(frozen)
        assert "head.weight" in moved
    trained = {name for name, _ in run.model.named_parameters()} - frozen
    assert parameters_of(run, watched).keys() == trained
    assert len(watched.made.state) == len(trained)


def test_statistics_of_what_is_not_frozen_move(bench: Callable[..., Any]) -> None:
    run = bench()
    begun = begin(run.model, freeze_depth=1)
    before = weights(run.model)
    run.start = lambda model: begun
    run.fit()
    norm = "encoders.image.stages.1.1"
    moved = changed(before, weights(run.model))
    assert {f"{norm}.running_mean", f"{norm}.num_batches_tracked"} <= moved


def test_each_depth_waits_for_its_epoch(bench: Callable[..., Any]) -> None:
    watched = Watched(AdamW(weight_decay=0.5))
    run = bench(optimizer=watched, trainer={"epochs": 6}, augment=False)
    kept: list[Weights] = []
    sizes: list[int] = []

    def start(model: MultimodalModel) -> Start:
        found = begin(model, unfreeze_every=2)
        kept.append(weights(model))
        return found

    def validate(model: MultimodalModel) -> Validation:
        kept.append(weights(model))
        sizes.append(len(watched.made.state))
        return Validation({"accuracy": float(len(kept)), "loss": 1.0})

    run.start, run.validate = start, validate
    run.fit()
    moved = [changed(one, two) for one, two in itertools.pairwise(kept)]
    encoders = {name for name in kept[0] if name.startswith("encoders.")}
    top = {n for n in encoders if ".stages.1." in n or ".layers.1." in n}
    for epoch, expected in enumerate([set(), set(), top, top, encoders, encoders]):
        assert moved[epoch] & encoders == expected, epoch
        assert {"head.weight", "head.bias"} <= moved[epoch]
    parameters = {name for name, _ in run.model.named_parameters()}
    thawed = [2, 2, 2 + len(top & parameters), 2 + len(top & parameters)]
    assert sizes == [*thawed, len(parameters), len(parameters)]


GRADUAL = {"layer_decay": 0.5, "unfreeze_every": 1}
PROBED = {"layer_decay": 0.5, "lp_ft": True}


@pytest.mark.parametrize(
    ("optimizer", "options", "stops"),  # epochs end after steps 5, 10 and 15
    [
        ("adamw", GRADUAL, (3, 5, 6, 8)),
        ("sgd", GRADUAL, (4, 6, 10, 13)),
        ("adamw", PROBED, (3, 5)),
    ],
)
def test_a_run_stopped_around_a_thaw_ends_as_if_it_had_not_been(
    bench: Callable[..., Any],
    stop_after: Callable[[int], Any],
    optimizer: str,
    options: dict[str, Any],
    stops: tuple[int, ...],
) -> None:
    make = partial(bench, optimizer=OPTIMIZERS[optimizer], start=partial(begin, **options))
    whole = make()
    fitted = whole.fit()
    assert fitted.steps == 15
    for steps in stops:
        whole.state_path.unlink(missing_ok=True)
        with pytest.raises(Interrupted):
            make().fit(stop_after(steps))
        again = make()
        found = again.fit()
        assert changed(weights(again.model), weights(whole.model)) == set(), steps
        assert found.val == fitted.val
        assert found.best_epoch == fitted.best_epoch


def test_a_run_stopped_in_every_epoch_ends_as_if_it_had_not_been(
    bench: Callable[..., Any], stop_after: Callable[[int], Any]
) -> None:
    make = partial(bench, start=partial(begin, unfreeze_every=1))
    whole = make()
    whole.fit()
    whole.state_path.unlink(missing_ok=True)
    for steps in (3, 4, 5):
        with pytest.raises(Interrupted):
            make().fit(stop_after(steps))
    last = make()
    last.fit()
    assert changed(weights(last.model), weights(whole.model)) == set()


def unused(model: MultimodalModel, place: str) -> None:
    model.get_submodule(place).register_parameter("unused", nn.Parameter(torch.zeros(2)))


@pytest.mark.parametrize(
    ("place", "step"), [("encoders.image.stages.1", 6), ("encoders.image.stages.0", 11)]
)
def test_a_parameter_that_thaws_dead_is_found_in_its_first_step(
    bench: Callable[..., Any], place: str, step: int
) -> None:
    run = bench(
        missing=False,
        change=partial(unused, place=place),
        start=partial(begin, unfreeze_every=1),
    )
    with pytest.raises(DeadParameterError, match=f"trainable parameter after .*: {place}.unused"):
        run.fit()
    assert [event.step for event in run.events if event.kind == "epoch"] == [
        s for s in (5, 10) if s < step
    ]


def test_a_parameter_that_thaws_dead_is_found_after_an_interruption_too(
    bench: Callable[..., Any], stop_after: Callable[[int], Any]
) -> None:
    make = partial(
        bench,
        missing=False,
        change=partial(unused, place="encoders.image.stages.1"),
        start=partial(begin, unfreeze_every=1),
    )
    with pytest.raises(Interrupted):
        make().fit(stop_after(4))
    with pytest.raises(DeadParameterError, match="unused"):
        make().fit()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_schedule_overwrites_the_rates_of_depths(
    bench: Callable[..., Any], optimizer: str
) -> None:
    watched = Watched(OPTIMIZERS[optimizer])
    options = {"layer_decay": 0.25, "copied_rate": 0.5, "head_rate": 2.0}
    run = bench(optimizer=watched, start=partial(begin, **options), trainer={"warmup": 0.2})
    run.fit()
    expected = {"stages.1": 0.5, "layers.1": 0.5, "stages.0": 0.125, "layers.0": 0.125, "head": 2.0}
    groups = parameters_of(run, watched)
    assert len(watched.rates) == 15
    head = groups["head.weight"]
    for rates in watched.rates[:-1]:  # the last may be zero
        for name, group in groups.items():
            multiple = next(value for part, value in expected.items() if part in name)
            assert rates[group] == pytest.approx(rates[head] * multiple / 2.0, rel=1e-12), name
    assert len({rates[head] for rates in watched.rates}) > 10  # they do follow the schedule


class Held(Penalty):
    """R of one encoder's weights."""

    of_weights = True

    def forward(self, step: Step) -> Tensor:
        return sum(p.square().sum() for p in step.model.encoders["image"].parameters()) / 100


def test_a_penalty_of_weights_that_all_wait_is_counted_and_does_no_harm(
    bench: Callable[..., Any],
) -> None:
    losses, held = [], 0.0
    for penalty in (None, Held()):
        run = bench(trainer={"epochs": 2, "batch_size": 40})
        start = begin(run.model, unfreeze_every=1)
        encoder = run.model.encoders["image"]
        held = sum(p.detach().double().square().sum().item() for p in encoder.parameters())
        loss = replace(run.loss_of, penalty=penalty)
        fit(loss, start, run.recipe(), run.events.append, StopRequest())
        losses.append([e.values["train.loss"] for e in run.events if e.kind == "epoch"])
    without, penalised = losses
    assert penalised[0] == pytest.approx(without[0] + held / 100, rel=1e-5)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.early, self.late = nn.Linear(3, 2), nn.Linear(3, 2)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_momentum_begins_with_the_first_gradient(momentum: float) -> None:
    recipe = Sgd(lr=0.1, momentum=momentum, weight_decay=0.01)
    found = []
    for own in (True, False):
        torch.manual_seed(0)
        model = Small()
        groups = make_parameter_groups(model, recipe, {}, decay=True)
        device = torch.device("cpu")
        # torch's plain loop over the parameters, for comparison
        plain = {"lr": 0.1, "momentum": momentum, "nesterov": momentum > 0, "foreach": False}
        optimizer = recipe.make(groups, device) if own else torch.optim.SGD(groups, **plain)
        for step in range(4):
            x = torch.ones(1, 3)
            y = model.early(x) + (model.late(x) if step >= 2 else 0)
            y.square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        found.append(weights(model))
        assert len(optimizer.state) == (4 if momentum else 0) or not own
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-6, atol=0)


def test_what_patience_kept_cold_counts_as_trainable(bench: Callable[..., Any]) -> None:
    run = bench(trainer={"epochs": 4, "patience": 1}, start=partial(begin, unfreeze_every=2))
    run.validate = lambda model: Validation({"accuracy": 0.5, "loss": 1.0})
    assert run.fit().epochs == 2
    assert all(parameter.requires_grad for parameter in run.model.parameters())
