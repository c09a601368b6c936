"""Joint training's options, and what weighs its losses."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch
from refusals import check_error
from torch import Tensor, nn

from mmx.config import compose, override_problems
from mmx.errors import ConfigError
from mmx.experiment import Experiment, assemble
from mmx.transfer.base import Start, Transfer, start_fresh
from mmx.transfer.joint import Joint
from mmx.transfer.weighting import SOURCE, TARGET, Weighting
from mmx.transfer.weighting.fixed import Fixed
from mmx.transfer.weighting.gradnorm import GradNorm
from mmx.transfer.weighting.uncertainty import Uncertainty

KINDS = ("classes", "regression")


# --- options


def test_a_mode_of_ones_own_that_needs_rows_adds_both_losses() -> None:
    class Own(Transfer):
        needs = "rows"

        def start(self, source: Any, model: Any, classes: tuple[str, ...]) -> Start:
            return start_fresh(model)

    assert type(Own().weigh(KINDS)) is Fixed
    assert Own().weigh(KINDS).weights().tolist() == [1.0, 1.0]
    assert Own().takes_negative
    assert not Joint(weighting="uncertainty").takes_negative


def test_what_weighs_is_what_was_chosen() -> None:
    assert type(Joint().weigh(KINDS)) is Fixed
    assert Joint(source_weight=0.25).weigh(KINDS).weights().tolist() == [1.0, 0.25]
    uncertainty = Joint(weighting="uncertainty").weigh(KINDS)
    assert uncertainty.weights().tolist() == [1.0, 0.5]
    gradnorm = Joint(weighting="gradnorm", alpha=0.0, rate=0.5).weigh(KINDS)
    assert isinstance(gradnorm, GradNorm)
    assert (gradnorm.alpha, gradnorm.rate) == (0.0, 0.5)


def test_options_that_are_not_given_are_as_stated() -> None:
    stated = Joint.__doc__ or ""
    for kind, option, default in (
        (Fixed, "source_weight", "None: 1"),
        (GradNorm, "alpha", "None: 1.5"),
        (GradNorm, "rate", "None: 0.025"),
    ):
        value = inspect.signature(kind).parameters[option].default
        assert default == f"None: {value:g}"
        assert default in stated


@pytest.mark.parametrize(
    ("weighting", "option", "read_by"),
    [
        ("uncertainty", "source_weight", "fixed"),
        ("gradnorm", "source_weight", "fixed"),
        ("fixed", "alpha", "gradnorm"),
        ("uncertainty", "rate", "gradnorm"),
    ],
)
def test_an_option_that_nothing_reads_is_refused(weighting: Any, option: str, read_by: str) -> None:
    options: dict[str, Any] = {option: 1.5}
    with pytest.raises(ValueError, match="is read only where") as caught:
        Joint(weighting=weighting, **options)
    check_error(
        caught.value,
        option,
        "1.5",
        "weighting",
        read_by,
        f"transfer.weighting={read_by}",
        f"transfer.{option}=null",
    )


def test_no_tensor_comes_from_a_source_and_nothing_is_held() -> None:
    model = nn.Linear(2, 3)
    start = Joint().start(None, model, ("a", "b", "c"))
    assert start.report.fresh == ("weight", "bias")
    assert start.weight_decay
    assert Joint().regularizable == frozenset()
    assert Joint().takes_fusion(["image"])


# --- with the rest of an experiment


def experiment(*overrides: str) -> Experiment:
    with compose.composer():
        composed, problems = override_problems.check_overrides(compose.parse(overrides), overrides)
        if problems:
            raise ConfigError(problems)
        return assemble(composed.config)


BOTH = ("source=digits_av", "target=digits_av")


@pytest.mark.parametrize("sharing", ["none", "trunk"])
def test_joint_goes_with_every_way_to_share(sharing: str) -> None:
    made = experiment(*BOTH, "transfer=joint", f"sharing={sharing}", "fusion=gmu")
    assert made.joint
    assert not made.trains_source
    assert made.roles["source"].fusion is made.roles["target"].fusion


def test_joint_without_a_source_is_from_scratch() -> None:
    made = experiment("source=none", "target=digits", "transfer=joint")
    assert not made.joint
    assert made.dropped["transfer"] == "there is no source to transfer from"


def problem(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        experiment(*overrides)
    (found,) = caught.value.problems
    return str(found)


NOWHERE = ("source=fsdd", "target=digits")


@pytest.mark.parametrize("trunk", [[], ["sharing=trunk", "sharing.modalities=false"]])
def test_tasks_that_can_share_nothing_are_refused(trunk: list[str]) -> None:
    assert problem(*NOWHERE, "transfer=joint", *trunk) == (
        "source=fsdd target=digits: no modality is in both, so they share nothing: the source has "
        "audio, the target image\n"
        "  type:     sharing=trunk   (one for all modalities; or source=none)"
    )
    assert experiment(*NOWHERE, "transfer=joint", "sharing=trunk").joint


SIGNED = "objective=combined", "objective.terms={cross_entropy: 1, cca: 0.1}"


@pytest.mark.parametrize("weighting", ["uncertainty", "gradnorm"])
def test_losses_that_may_be_negative_are_not_weighed(weighting: str) -> None:
    line = (*BOTH, "transfer=joint", f"transfer.weighting={weighting}")
    text = (
        f"transfer.weighting={weighting}: weighs losses that are never negative, and that of the "
        "{} may be\n  type:     transfer.weighting=fixed"
    )
    assert problem(*line, *SIGNED) == text.format("source and the target")
    only = (f"source_{each}" for each in SIGNED)
    assert problem(*line, *only) == text.format("source")
    assert experiment(*BOTH, "transfer=joint", *SIGNED).joint


def test_joint_holds_nothing_near_a_source() -> None:
    assert problem(*BOTH, "transfer=joint", "regularizer=l2_sp").startswith(
        "regularizer=l2_sp: has nothing to hold under transfer=joint as it is set\n"
    )


@pytest.mark.parametrize("group", ["sharing", "transfer"])
def test_the_weight_has_one_place_and_the_message_says_where(group: str) -> None:
    assert problem(*BOTH, "sharing=trunk", f"{group}.source_weight=2").endswith(
        "\n  type:     transfer=joint transfer.source_weight=2"
    )
    made = experiment(*BOTH, "transfer=joint", "transfer.source_weight=2")
    assert isinstance(made.transfer, Joint)
    assert made.transfer.weigh(KINDS).weights().tolist() == [1.0, 2.0]


# --- every weighting


EACH = pytest.mark.parametrize(
    "weighting", [Fixed(source_weight=3.0), Uncertainty(kinds=KINDS), GradNorm()]
)


@EACH
def test_a_loss_is_multiplied_by_its_weight(weighting: Weighting) -> None:
    for task in (TARGET, SOURCE):
        loss = torch.tensor(0.7, requires_grad=True)
        weighed = weighting(loss, task)
        weighed.backward()
        weight = weighting.weights()[task]
        assert weighed.item() == (weight * loss).item()
        assert loss.grad is not None
        assert loss.grad.item() == weight.item()


@EACH
def test_what_moves_is_in_the_state(weighting: Weighting) -> None:
    assert bool(weighting.state_dict()) == weighting.moves


def test_the_targets_loss_stays_as_it_is_beside_a_fixed_weight() -> None:
    losses = torch.rand(50) * 10
    weighed = [Fixed(source_weight=0.3)(loss, TARGET) for loss in losses]
    assert torch.stack(weighed).equal(losses)
    assert Fixed().penalty() is None


# --- uncertainty


def uncertain(s: tuple[float, float], kinds: tuple[str, str] = KINDS) -> Uncertainty:
    made = Uncertainty(kinds=kinds).double()
    with torch.no_grad():
        made.log_variances.copy_(torch.tensor(s))
    return made


@pytest.mark.parametrize(
    ("kinds", "factors"),
    [
        (("classes", "regression"), (1.0, 0.5)),
        (("regression", "multilabel"), (0.5, 1.0)),
        (("regression", "regression"), (0.5, 0.5)),
    ],
)
def test_the_loss_and_its_slope_are_those_of_the_formula(
    kinds: tuple[str, str], factors: tuple[float, float]
) -> None:
    s, losses = (0.4, -1.1), (2.3, 0.6)
    made = uncertain(s, kinds)
    held = made.penalty()
    total = sum(made(torch.tensor(loss).double(), task) for task, loss in enumerate(losses)) + held
    expected = sum(
        k * math.exp(-each) * loss + each / 2
        for k, each, loss in zip(factors, s, losses, strict=True)
    )
    assert total.item() == pytest.approx(expected, rel=1e-6)
    total.backward()
    slopes = [
        0.5 - k * math.exp(-each) * loss for k, each, loss in zip(factors, s, losses, strict=True)
    ]
    assert made.log_variances.grad is not None
    assert made.log_variances.grad.tolist() == pytest.approx(slopes, rel=1e-6)


def test_a_mean_squared_error_is_weighed_as_a_gaussians_likelihood() -> None:
    made = uncertain((0.7, 0.7), ("regression", "regression"))
    error = torch.tensor(1.3).double()
    sigma = math.exp(0.35)
    likelihood = torch.distributions.Normal(0.0, sigma).log_prob(error).item()
    found = made(error**2, TARGET).item() + 0.35  # its share of what is held
    assert found + 0.5 * math.log(2 * math.pi) == pytest.approx(-likelihood, rel=1e-6)
    assert made.penalty().item() == pytest.approx(0.7)


@pytest.mark.parametrize("unit", [1.0, 60.0, 0.01])
def test_at_its_best_a_tasks_share_is_one_half_whatever_the_unit(unit: float) -> None:
    losses = torch.tensor([0.3, 2.0]).double() * unit
    made = uncertain((0.0, 0.0))
    with torch.no_grad():
        made.log_variances.copy_(torch.log(2 * made.factors * losses))
    shares = torch.stack([made(loss, task) for task, loss in enumerate(losses)])
    (shares.sum() + made.penalty()).backward()
    assert shares.tolist() == pytest.approx([0.5, 0.5])
    assert made.log_variances.grad is not None
    assert made.log_variances.grad.tolist() == pytest.approx([0.0, 0.0], abs=1e-12)


# --- gradnorm


def naive_weights(
    steps: list[tuple[list[float], list[float]]], alpha: float, rate: float
) -> list[list[float]]:
    """Return the weights after each step of unweighted losses and gradient norms.

    As the paper has it, but in the weights' logarithms and with the distance divided by the mean
    norm: its slope comes from autograd over log w, not from a formula.
    """
    w, first, found = [1.0, 1.0], steps[0][0], []
    for losses, sizes in steps:
        log_w = torch.tensor([math.log(each) for each in w], dtype=torch.float64)
        log_w.requires_grad_()
        norms = torch.exp(log_w) * torch.tensor(sizes, dtype=torch.float64)
        mean = norms.sum().item() / 2
        left = [loss / start for loss, start in zip(losses, first, strict=True)]
        paces = [each / (sum(left) / 2) for each in left]
        distance = sum(
            abs(norm - mean * pace**alpha) for norm, pace in zip(norms, paces, strict=True)
        )
        (slope,) = torch.autograd.grad(distance / mean, log_w)
        w = [each * math.exp(-rate * down) for each, down in zip(w, slope.tolist(), strict=True)]
        w = [2 * each / sum(w) for each in w]
        found.append(w)
    return found


@pytest.mark.parametrize(("alpha", "rate"), [(1.5, 0.025), (0.0, 0.3), (0.5, 0.1)])
def test_the_weights_are_those_of_a_naive_second_implementation(alpha: float, rate: float) -> None:
    torch.manual_seed(0)
    steps = [
        ((0.2 + torch.rand(2)).tolist(), (torch.rand(2) * torch.tensor([1.0, 9.0])).tolist())
        for _ in range(60)
    ]
    made = GradNorm(alpha=alpha, rate=rate).double()
    for (losses, sizes), expected in zip(steps, naive_weights(steps, alpha, rate), strict=True):
        norms = made.weights() * torch.tensor(sizes, dtype=torch.float64)
        made.observe(torch.tensor(losses, dtype=torch.float64), norms)
        assert made.weights().tolist() == pytest.approx(expected, rel=1e-9)
    assert made.first.tolist() == steps[0][0]


def observed(made: GradNorm, losses: Tensor, sizes: Tensor, steps: int = 1) -> list[float]:
    for _ in range(steps):
        made.observe(losses, made.weights() * sizes)
    return made.weights().tolist()


def test_gradients_come_to_be_of_one_size() -> None:
    sizes = torch.tensor([5.0, 0.25])
    made = GradNorm(rate=0.01)
    weights = observed(made, torch.ones(2), sizes, 1000)
    assert weights[1] / weights[0] == pytest.approx(5.0 / 0.25, rel=0.03)
    assert sum(weights) == pytest.approx(2.0)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
def test_the_task_that_came_down_less_is_pulled_along(alpha: float) -> None:
    made = GradNorm(alpha=alpha, rate=0.01)
    observed(made, torch.tensor([1.0, 1.0]), torch.ones(2))
    weights = observed(made, torch.tensor([0.8, 0.4]), torch.ones(2), 500)
    assert weights[0] == pytest.approx((0.8 / 0.6) ** alpha, rel=0.02)  # times a mean norm of 1


@pytest.mark.parametrize("unit", [2.0**-20, 2.0**16])
def test_a_common_unit_of_losses_or_gradients_changes_no_bit(unit: float) -> None:
    torch.manual_seed(0)
    one, other = GradNorm(), GradNorm()
    for _ in range(20):
        losses, norms = torch.rand(2), torch.rand(2)
        one.observe(losses, norms)
        other.observe(unit * losses, unit * norms)
        assert one.weights().equal(other.weights())


def test_a_step_is_bounded_whatever_the_gradients() -> None:
    made = GradNorm(rate=0.025)
    observed(made, torch.ones(2), torch.tensor([1e6, 1e-6]))
    assert math.log(made.weights()[0]) >= -2 * 0.025 - 1e-6
    for _ in range(3000):
        observed(made, torch.ones(2), torch.tensor([1e6, 1e-6]))
    assert (made.weights() > 0).all()


@pytest.mark.parametrize(
    ("losses", "norms"),
    [
        ([1.0, 1.0], [0.0, 1.0]),
        ([1.0, 1.0], [math.inf, 1.0]),
        ([1.0, 1.0], [math.nan, 1.0]),
        ([0.0, 0.0], [1.0, 2.0]),
        ([math.nan, 1.0], [1.0, 2.0]),
    ],
)
def test_a_step_that_shows_nothing_leaves_the_weights(
    losses: list[float], norms: list[float]
) -> None:
    made = GradNorm()
    observed(made, torch.tensor([2.0, 1.0]), torch.tensor([1.0, 3.0]), 5)
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    made.observe(torch.tensor(losses), torch.tensor(norms))
    assert all(made.state_dict()[name].equal(tensor) for name, tensor in before.items())


def test_a_first_loss_of_zero_leaves_the_weights() -> None:
    assert observed(GradNorm(), torch.tensor([0.0, 1.0]), torch.ones(2), 3) == [1.0, 1.0]
