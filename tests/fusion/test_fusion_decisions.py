"""Decision-level fusion: each mean against its formula, each choice against a naive search."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from refusals import check_error, check_notes
from torch import Tensor

from mmx.fusion import Fusion, Widths
from mmx.fusion.ensemble import Ensemble
from mmx.fusion.late_mean import LateMean
from mmx.fusion.late_weighted import LateWeighted
from mmx.fusion.mixing import fit_log_weights, log_shares, proper_loss, select
from mmx.fusion.poe import Poe
from mmx.modalities import Encoded, Features

OUTPUTS = 2
KINDS = pytest.mark.parametrize("kind", ["classes", "multilabel", "regression"])


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def head(row: Any, name: str, x: Tensor) -> Tensor:
    if f"{name}.weight" in row.p:
        return row.affine(name, x)
    return row.affine(f"{name}.2", row.affine(f"{name}.0", x).clamp(min=0))


def experts(row: Any) -> dict[str, Tensor]:
    return {name: head(row, f"heads.{name}", x) for name, x in row.pooled.items()}


def mean(decisions: list[Tensor], weights: list[float], combine: str) -> Tensor:
    total = torch.zeros(OUTPUTS)
    for decision, weight in zip(decisions, weights, strict=True):
        if combine == "probabilities":
            decision = decision.exp() / decision.exp().sum()
        total = total + weight * decision
    total = total / sum(weights)
    return total.log() if combine == "probabilities" else total


def equal(fusion: Any, row: Any) -> Tensor:
    decisions = list(experts(row).values())
    return mean(decisions, [1.0] * len(decisions), fusion.combine)


def ensemble(fusion: Any, row: Any) -> Tensor:
    decisions = list(experts(row).values())
    if any(name.startswith("joint") for name in row.p):
        decisions.append(head(row, "joint", row.side_by_side()))
    return mean(decisions, [1.0] * len(decisions), fusion.combine)


def discrete(fusion: Any, row: Any) -> Tensor:
    total = torch.zeros(OUTPUTS)
    for decision in experts(row).values():
        total = total + decision
    for _ in range(len(row.pooled) - 1):
        total = total - row.p.get("prior_logits", torch.zeros(OUTPUTS))
    return total


def gaussian(fusion: Any, row: Any) -> Tensor:
    top, bottom = torch.zeros(OUTPUTS), torch.tensor(1.0 if fusion.prior else 0.0)
    for name, decision in experts(row).items():
        precision = torch.tensor(1.0)
        if "log_precision" in row.p:
            precision = row.p["log_precision"][row.names.index(name)].exp()
        top = top + precision * decision
        bottom = bottom + precision
    return top / bottom


CASES: dict[str, tuple[type[Fusion], dict[str, Any], Any]] = {
    "late_mean": (LateMean, {}, equal),
    "late_mean-hidden": (LateMean, {"hidden": 3}, equal),
    "late_mean-probabilities": (LateMean, {"combine": "probabilities"}, equal),
    "late_weighted-validation": (LateWeighted, {"alpha": "validation"}, equal),
    "ensemble": (Ensemble, {}, ensemble),
    "ensemble-hidden": (Ensemble, {"hidden": 3, "combine": "probabilities"}, ensemble),
    "ensemble-alone": (Ensemble, {"joint": False}, ensemble),
    "poe": (Poe, {}, discrete),
    "poe-prior": (Poe, {"hidden": 3, "prior": True}, discrete),
    "poe-gaussian": (Poe, {"experts": "gaussian"}, gaussian),
    "poe-gaussian-prior": (Poe, {"experts": "gaussian", "prior": True}, gaussian),
}


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case: str, formula: Callable[..., None]) -> None:
    method, options, naive = CASES[case]
    formula(method, options, naive, examples=10)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count", [1, 3])
def test_no_parameter_is_dead(case: str, count: int) -> None:
    method, options, _ = CASES[case]
    fusion = method({name: Widths(4) for name in "abc"[:count]}, outputs=OUTPUTS, **options)
    x = pooled_features({name: torch.randn(5, 4) for name in "abc"[:count]})
    there = {name: torch.ones(5) > 0 for name in x}
    (fusion(x, there) * torch.randn(5, OUTPUTS)).sum().backward()
    assert [n for n, p in fusion.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("case", CASES)
def test_label_tensors_are_all_that_have_a_row_an_output(case: str) -> None:
    method, options, _ = CASES[case]
    fusion = method({"a": Widths(4), "b": Widths(6)}, outputs=7, **options)
    rows = {name for name, parameter in fusion.named_parameters() if len(parameter) == 7}
    assert set(fusion.label_tensors) == rows


def pooled_features(pooled: dict[str, Tensor]) -> dict[str, Features]:
    return {k: Features(x[:, None], torch.ones(len(x), 1) > 0, x) for k, x in pooled.items()}


def identity(fusion: Any) -> None:
    """Make every unimodal head pass its features on."""
    for each in fusion.heads.values():
        each.weight.data = torch.eye(len(each.weight))
        each.bias.data.zero_()


def decisions_as_rows(kind: str, rows: int = 60) -> tuple[Encoded, int]:
    """Return rows whose features are decisions: b knows most, c nothing, and C."""
    g = torch.Generator().manual_seed(5)
    outputs = {"classes": 3, "multilabel": 2, "regression": 1}[kind]
    noise = {"a": 1.5, "b": 0.8, "c": 4.0}
    if kind == "classes":
        target = torch.randint(outputs, (rows,), generator=g)
        signal = F.one_hot(target, outputs).double()
    elif kind == "multilabel":
        target = (torch.rand(rows, outputs, generator=g) < 0.4).double()
        signal = 2 * target - 1
    else:
        target = torch.randn(rows, generator=g)
        signal = target[:, None]
    pooled, present = {}, {}
    for index, name in enumerate(noise):
        x = signal + noise[name] * torch.randn(rows, outputs, generator=g)
        present[name] = (torch.rand(rows, generator=g) < 0.7) | (torch.arange(rows) % 3 == index)
        pooled[name] = x.masked_fill(~present[name][:, None], torch.nan)
    return Encoded(pooled_features(pooled), present, target), outputs


def naive_loss(rows: Encoded, weights: dict[str, float], combine: str) -> float:
    """Return the loss of the weighted mean, row by row, where features are decisions.

    Rows that have nothing of weight above zero average all that they have.
    """
    total = 0.0
    for i in range(len(rows)):
        here = [name for name in weights if rows.present.get(name, torch.ones(len(rows)))[i]]
        shares = [weights[name] for name in here]
        if sum(shares) == 0:
            shares = [1.0] * len(here)
        said = [rows.features[name].pooled[i] for name in here]
        if combine == "probabilities":
            said = [x.exp() / x.exp().sum() for x in said]
        y = sum(w * x for w, x in zip(shares, said, strict=True)) / sum(shares)
        truth = rows.target[i]
        if rows.target.dim() == 2:
            p = 1 / (1 + (-y).exp())
            total -= float((truth * p.log() + (1 - truth) * (1 - p).log()).mean())
        elif rows.target.is_floating_point():
            total += float((y[0] - truth) ** 2)
        else:
            p = y if combine == "probabilities" else y.exp() / y.exp().sum()
            total -= float(p[truth].log())
    return total / len(rows)


SEARCHES = pytest.mark.parametrize(
    ("kind", "combine"),
    [
        ("classes", "logits"),
        ("classes", "probabilities"),
        ("multilabel", "logits"),
        ("regression", "logits"),
    ],
)


@SEARCHES
def test_no_weights_near_those_fitted_do_better(kind: str, combine: Any) -> None:
    rows, outputs = decisions_as_rows(kind)
    widths = {name: Widths(outputs) for name in "cab"}
    fusion = LateWeighted(widths, outputs=outputs, alpha="validation", combine=combine).eval()
    identity(fusion)
    state = torch.get_rng_state()
    (note,) = fusion.settle(rows, rows, 0)
    assert torch.equal(torch.get_rng_state(), state)
    found = dict(zip("abc", fusion.alpha.log_weights.exp().tolist(), strict=True))
    assert sum(found.values()) == pytest.approx(1)
    assert found["b"] > 0.5 > found["a"] > found["c"]
    said = ", ".join(f"{name} {weight:.2f}" for name, weight in found.items())
    check_notes([note], ("60 validation", said, "weights", "validation"))
    best = naive_loss(rows, found, combine)
    assert best < naive_loss(rows, dict.fromkeys("abc", 1.0), combine)
    for up in "abc":
        for down in set("abc") - {up}:
            other = {**found, up: found[up] + 1e-3, down: max(found[down] - 1e-3, 1e-12)}
            assert naive_loss(rows, other, combine) > best - 1e-9
    output = proper_loss(fusion(rows.features, rows.present), rows.target)
    assert output.item() == pytest.approx(best, abs=1e-10)


def test_weights_by_hand() -> None:
    # Mean squared error of w·0 + (1 - w)·4 against 1 is least at w = 3/4.
    rows = Encoded(
        pooled_features({"a": torch.zeros(2, 1), "b": torch.full((2, 1), 4.0)}),
        {"a": torch.ones(2) > 0, "b": torch.ones(2) > 0},
        torch.ones(2),
    )
    fusion = LateWeighted({"a": Widths(1), "b": Widths(1)}, outputs=1, alpha="validation")
    identity(fusion)
    check_notes(
        fusion.settle(rows, rows, 0), ("2 validation", "0.75", "0.25", "weights", "validation")
    )
    torch.testing.assert_close(fusion(rows.features, rows.present), torch.ones(2, 1))


def test_a_harmful_decision_gets_no_weight() -> None:
    y = torch.arange(40) % 2
    right, wrong = 2.0 * F.one_hot(y, 2), 2.0 * F.one_hot(1 - y, 2)
    decisions = torch.stack([right, wrong], 1)
    weights = fit_log_weights(decisions, torch.ones(40, 2) > 0, y, "logits").exp()
    assert weights[1] < 1e-6
    assert weights.sum().item() == pytest.approx(1)


def test_a_modality_that_validation_never_has_keeps_an_equal_weight() -> None:
    decisions, y = torch.randn(30, 3, 2), torch.arange(30) % 2
    there = torch.tensor([True, True, False]).expand(30, 3)
    log_weights = fit_log_weights(decisions, there, y, "logits")
    assert log_weights.isfinite().all()
    assert log_weights.logsumexp(0).item() == pytest.approx(0)
    raw = log_weights - log_weights[2]  # its own number never moved from 0
    pair = fit_log_weights(decisions[:, :2], there[:, :2], y, "logits")
    torch.testing.assert_close(raw[0] - raw[1], pair[0] - pair[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", [LateWeighted, Ensemble])
def test_what_is_settled_travels_and_is_the_same_again(method: Any) -> None:
    rows, outputs = decisions_as_rows("classes")
    widths = {name: Widths(outputs) for name in "abc"}
    options = {"alpha": "validation"} if method is LateWeighted else {}
    fusion = method(widths, outputs=outputs, **options).eval()
    heads = {k: v.clone() for k, v in fusion.named_parameters()}
    before = fusion(rows.features, rows.present)
    fusion.settle(rows, rows, 0)
    after = fusion(rows.features, rows.present)
    assert not torch.allclose(before, after)
    assert all(torch.equal(heads[k], v) for k, v in fusion.named_parameters())
    other = method(widths, outputs=outputs, **options).eval()
    other.load_state_dict(fusion.state_dict())
    assert torch.equal(other(rows.features, rows.present), after)
    other.settle(rows, rows, 7)
    assert all(torch.equal(v, fusion.state_dict()[k]) for k, v in other.state_dict().items())
    first = {name: x.map(lambda t: t[:5]) for name, x in rows.features.items()}
    alone = fusion(first, {name: here[:5] for name, here in rows.present.items()})
    torch.testing.assert_close(alone, after[:5], rtol=0, atol=1e-12)


def test_single_modality_settles_to_itself() -> None:
    rows, outputs = decisions_as_rows("classes")
    one = Encoded({"b": rows.features["b"]}, {"b": torch.ones(60) > 0}, rows.target)
    one.features["b"].pooled.nan_to_num_(0.0)
    for fusion in (
        LateWeighted({"b": Widths(outputs)}, outputs=outputs, alpha="validation"),
        Ensemble({"b": Widths(outputs)}, outputs=outputs),
    ):
        before = fusion(one.features, one.present)
        fusion.settle(one, one, 0)
        torch.testing.assert_close(fusion(one.features, one.present), before, rtol=0, atol=1e-12)


def test_learned_and_fixed_weights_do_not_settle() -> None:
    rows, outputs = decisions_as_rows("classes")
    for alpha in ("learned", "fixed"):
        fusion = LateWeighted(
            {name: Widths(outputs) for name in "abc"},
            outputs=outputs,
            alpha=alpha,  # type: ignore[arg-type]
        )
        assert not fusion.settles
        with pytest.raises(NotImplementedError, match="LateWeighted has nothing to settle"):
            fusion.settle(rows, rows, 0)
    fusion = LateWeighted({"a": Widths(1)}, outputs=2, alpha="validation")
    assert fusion.settles
    assert "alpha.log_weights" in fusion.state_dict()
    assert [name for name, _ in fusion.named_parameters() if "alpha" in name] == []


def test_weights_are_not_read_for_validation() -> None:
    with pytest.raises(ValueError, match="`weights`") as error:
        LateWeighted({"a": Widths(1)}, outputs=2, alpha="validation", weights={"a": 1.0})
    check_error(error.value, "weights", "1.0", "alpha")


@pytest.mark.parametrize("method", [LateMean, LateWeighted, Ensemble])
def test_kinds_of_means(method: Any) -> None:
    every = frozenset({"classes", "multilabel", "regression"})
    assert method.kinds() == method.kinds(combine="logits", hidden=3) == every
    assert method.kinds(combine="probabilities") == {"classes"}


def test_kinds_of_experts() -> None:
    assert Poe.kinds() == Poe.kinds(experts="discrete") == {"classes", "multilabel"}
    assert Poe.kinds(experts="gaussian", prior=True) == {"regression"}


def naive_selection(rows: Encoded, names: list[str], combine: str, rounds: int) -> dict[str, int]:
    counts, best, kept = dict.fromkeys(names, 0), math.inf, {}
    for _ in range(rounds):
        tried = {n: naive_loss(rows, {**counts, n: counts[n] + 1}, combine) for n in names}
        winner = min(names, key=lambda n: tried[n])
        counts[winner] += 1
        if tried[winner] < best:
            best, kept = tried[winner], dict(counts)
    return kept


@SEARCHES
def test_selection_against_a_naive_one(kind: str, combine: Any) -> None:
    rows, outputs = decisions_as_rows(kind)
    widths = {name: Widths(outputs) for name in "cab"}
    fusion = Ensemble(widths, outputs=outputs, joint=False, rounds=9, combine=combine).eval()
    identity(fusion)
    (note,) = fusion.settle(rows, rows, 0)
    expected = naive_selection(rows, list("abc"), combine, 9)
    assert dict(zip("abc", fusion.counts.tolist(), strict=True)) == expected
    assert len([count for count in expected.values() if count]) > 1
    said = ", ".join(f"{name} {count}×" for name, count in expected.items())
    check_notes([note], ("60 validation", said, "validation", "rows"))
    output = proper_loss(fusion(rows.features, rows.present), rows.target)
    assert output.item() == pytest.approx(naive_loss(rows, expected, combine), abs=1e-10)


def test_selection_by_hand() -> None:
    # Numbers 0 and 4 against 1: 0 is nearer than 4. With it, another 0 (mean 0) is as good
    # as 4 (mean 2) and comes first; then 4 is better (4/3 beats 0), then 0 again (1 is exact).
    decisions = torch.tensor([0.0, 4.0]).view(1, 2, 1)
    there, y = torch.ones(1, 2) > 0, torch.ones(1)
    assert select(decisions, there, y, "logits", 1).tolist() == [1, 0]
    assert select(decisions, there, y, "logits", 2).tolist() == [1, 0]
    assert select(decisions, there, y, "logits", 4).tolist() == [3, 1]
    assert select(decisions, there, y, "logits", 7).tolist() == [3, 1]  # no later round is better


def test_equals_are_taken_by_name() -> None:
    decisions = torch.tensor([2.0, 2.0, 2.0]).view(1, 3, 1)
    counts = select(decisions, torch.ones(1, 3) > 0, torch.ones(1), "logits", 5)
    assert counts.tolist() == [1, 0, 0]


def test_the_joint_head_is_selected_where_modalities_say_nothing_alone() -> None:
    g = torch.Generator().manual_seed(2)
    a, b = torch.randn(80, 1, generator=g), torch.randn(80, 1, generator=g)
    target = (a + b)[:, 0]
    present = {"a": torch.ones(80) > 0, "b": torch.ones(80) > 0}
    rows = Encoded(pooled_features({"a": a, "b": b}), present, target)
    fusion = Ensemble({"a": Widths(1), "b": Widths(1)}, outputs=1, rounds=10).eval()
    identity(fusion)
    fusion.joint.weight.data.fill_(1.0)
    fusion.joint.bias.data.zero_()
    assert fusion.candidates == ("a", "b", "joint")
    check_notes(fusion.settle(rows, rows, 0), ("80 validation", "0×", "1×", "validation", "rows"))
    torch.testing.assert_close(fusion(rows.features, present)[:, 0], target)


def test_a_row_without_what_was_selected_averages_what_it_has() -> None:
    counts = torch.tensor([3.0, 0.0, 0.0])
    there = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 1]]) > 0
    half = math.log(0.5)
    expected = torch.tensor([[0, -torch.inf, -torch.inf], [-torch.inf, half, half]])
    torch.testing.assert_close(log_shares(counts, there)[:2], expected)
    assert log_shares(counts, there)[2].tolist() == [-torch.inf, -torch.inf, 0.0]


def test_experts_by_hand() -> None:
    """Bayes' rule where modalities are independent given the class."""
    prior = torch.tensor([0.7, 0.2, 0.1])
    given = {  # p(x | y), a row for each y
        "a": torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5]]),
        "b": torch.tensor([[0.2, 0.8], [0.6, 0.4], [0.1, 0.9]]),
        "c": torch.tensor([[0.4, 0.6], [0.4, 0.6], [0.8, 0.2]]),
    }
    fusion = Poe({name: Widths(2) for name in given}, outputs=3, prior=True)
    for name, each in fusion.heads.items():
        joint = prior[:, None] * given[name]  # (y, x)
        each.weight.data = (joint / joint.sum(0)).log()  # ln p(y | x) of a one-hot x
        each.bias.data.zero_()
    fusion.prior_logits.data = prior.log()
    one_hot = torch.eye(2)
    x = pooled_features({name: one_hot[[0, 1, 1]] for name in given})
    present = {"a": [True, True, False], "b": [True, True, True], "c": [True, False, False]}
    output = fusion(x, {name: torch.tensor(here) for name, here in present.items()})
    for i, value in enumerate((0, 1, 1)):
        joint = prior.clone()
        for name, here in present.items():
            if here[i]:
                joint = joint * given[name][:, value]
        torch.testing.assert_close(output[i].softmax(0), joint / joint.sum())


def test_the_sum_of_logits_is_the_product_of_either_kind() -> None:
    x = {"a": torch.randn(4, 3), "b": torch.randn(4, 3)}
    fusion = Poe({"a": Widths(3), "b": Widths(3)}, outputs=3)
    identity(fusion)
    output = fusion(pooled_features(x), {"a": torch.ones(4) > 0, "b": torch.ones(4) > 0})
    product = x["a"].softmax(1) * x["b"].softmax(1)
    torch.testing.assert_close(output.softmax(1), product / product.sum(1, keepdim=True))
    yes = x["a"].sigmoid() * x["b"].sigmoid()
    no = (1 - x["a"].sigmoid()) * (1 - x["b"].sigmoid())
    torch.testing.assert_close(output.sigmoid(), yes / (yes + no))


def test_gaussians_by_hand() -> None:
    fusion = Poe({"a": Widths(1), "b": Widths(1)}, outputs=1, experts="gaussian", prior=True)
    identity(fusion)
    fusion.log_precision.data = torch.tensor([3.0, 1.0]).log()
    x = pooled_features({"a": torch.full((3, 1), 2.0), "b": torch.full((3, 1), -4.0)})
    present = {"a": torch.tensor([1, 1, 0]) > 0, "b": torch.tensor([1, 0, 1]) > 0}
    # (3·2 - 1·4) / 5, 3·2 / 4, -4 / 2
    torch.testing.assert_close(fusion(x, present), torch.tensor([[0.4], [1.5], [-2.0]]))
    fusion.log_precision.data = torch.tensor([800.0, 0.0])  # e^800 is infinite
    torch.testing.assert_close(fusion(x, present), torch.tensor([[2.0], [2.0], [-2.0]]))


@KINDS
def test_the_loss_is_that_of_the_kind(kind: str) -> None:
    rows, outputs = decisions_as_rows(kind, rows=8)
    said = torch.randn(8, outputs)
    only = Encoded(pooled_features({"a": said}), {"a": torch.ones(8) > 0}, rows.target)
    loss = proper_loss(said, rows.target).item()
    assert loss == pytest.approx(naive_loss(only, {"a": 1.0}, "logits"))
