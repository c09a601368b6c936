"""The head that linear probing fits is the optimum of its loss, with C chosen on validation."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from refusals import check_error, check_notes
from torch import Tensor

from mmx.errors import DataError, DivergedError
from mmx.stages.phases.fit_linear_probe import STRENGTHS, fit_linear_head, fit_solutions, fuse_rows
from mmx.tasks import Target
from mmx.training import checkpoint

N, D = 40, 5


def rows(shift: float = 3.0) -> tuple[Any, Any]:
    """Return features that are neither centred nor of one scale, and three classes."""
    random = np.random.default_rng(0)
    y = random.integers(0, 3, N)
    x = random.normal(size=(N, D)) * [1, 2, 0.1, 5, 1] + shift
    x[:, 0] += y
    return x, y


def scaled(x: Any) -> tuple[Tensor, Tensor, float]:
    """Return centred features of common deviation one, their centre, and the deviation."""
    centre = sum(x) / len(x)
    total = sum((value - centre[d]) ** 2 for row in x for d, value in enumerate(row))
    deviation = math.sqrt(total / (len(x) * len(centre)))
    return torch.from_numpy((x - centre) / deviation), torch.from_numpy(centre), deviation


def slope(
    weight: Tensor, bias: Tensor, loss: Callable[[Tensor, Tensor], Tensor], c: float
) -> float:
    """Return the steepest slope of mean loss + ‖W‖² / 2CN at a head."""
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    (loss(weight, bias) + weight.square().sum() / (2 * c * N)).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    return max(weight.grad.abs().max().item(), bias.grad.abs().max().item())


def unfolded(x: Any, fitted: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return scaled features, and the head as it reads these."""
    z, centre, deviation = scaled(x)
    weight = torch.from_numpy(fitted.weight)
    return z, weight * deviation, torch.from_numpy(fitted.bias) + weight @ centre


def test_classes_have_the_multinomial_optimum_for_each_strength() -> None:
    x, y = rows()
    found = list(fit_solutions(x, y, Target("classes", ("a", "b", "c"))))
    assert [each.strength for each in found] == list(STRENGTHS)
    for each in found:
        z, weight, bias = unfolded(x, each)

        def loss(w: Tensor, b: Tensor, z: Tensor = z) -> Tensor:
            return F.cross_entropy(z @ w.T + b, torch.from_numpy(y))

        assert slope(weight, bias, loss, each.strength) < 1e-6
        assert slope(1.5 * weight, bias, loss, each.strength) > 1e-3 or each.strength > 1
    norms = [np.abs(each.weight).sum() for each in found]
    assert norms == sorted(norms)
    assert norms[-1] > 100 * norms[0]


def test_two_classes_among_more_are_one_logistic_regression() -> None:
    x, y = rows()
    y = np.where(y == 0, 1, 3)
    for each in fit_solutions(x, y, Target("classes", ("a", "b", "c", "d"))):
        z, weight, bias = unfolded(x, each)
        assert not each.weight[[0, 2]].any()
        assert np.array_equal(each.weight[1], -each.weight[3])
        label = torch.from_numpy(y == 3).double()

        def loss(w: Tensor, b: Tensor, z: Tensor = z, label: Tensor = label) -> Tensor:
            return F.binary_cross_entropy_with_logits(z @ w + b, label)

        assert slope(weight[3] - weight[1], bias[3] - bias[1], loss, each.strength) < 1e-6
        rarest = 1 if (y == 1).sum() < (y == 3).sum() else 3
        expected = bias[rarest] - math.log(2 * (y == rarest).sum())
        assert bias[0].item() == pytest.approx(expected.item())
        assert bias[2].item() == pytest.approx(expected.item())


def test_one_class_alone_is_the_answer() -> None:
    x, _ = rows()
    for each in fit_solutions(x, np.full(N, 2), Target("classes", ("a", "b", "c"))):
        assert not each.weight.any()
        assert each.bias.tolist() == pytest.approx([-math.log(2 * N), -math.log(2 * N), 0])


def test_each_label_has_its_own_optimum() -> None:
    x, y = rows()
    labels = np.stack([y == 1, y > 0, np.zeros(N)], axis=1).astype(np.float32)
    for each in fit_solutions(x, labels, Target("multilabel", ("a", "b", "never"))):
        z, weight, bias = unfolded(x, each)
        for column in (0, 1):
            label = torch.from_numpy(labels[:, column]).double()

            def loss(w: Tensor, b: Tensor, z: Tensor = z, label: Tensor = label) -> Tensor:
                return F.binary_cross_entropy_with_logits(z @ w + b, label)

            assert slope(weight[column], bias[column], loss, each.strength) < 1e-6
        assert not each.weight[2].any()
        assert each.bias[2] == pytest.approx(math.log(0.5 / (N + 0.5)))


def test_numbers_have_the_ridge_optimum() -> None:
    x, y = rows()
    target = y + np.sin(x[:, 1])
    for each in fit_solutions(x, target.astype(np.float64), Target("regression")):
        z, weight, bias = unfolded(x, each)
        gram = torch.zeros(D, D, dtype=torch.float64)
        right = torch.zeros(D, dtype=torch.float64)
        for row, value in zip(z, target - target.mean(), strict=True):
            gram += torch.outer(row, row)
            right += value * row
        expected = torch.linalg.solve(gram + torch.eye(D).double() / each.strength, right)
        torch.testing.assert_close(weight[0], expected, rtol=1e-9, atol=1e-12)
        assert bias.item() == pytest.approx(target.mean())


@pytest.mark.parametrize("kind", ["classes", "multilabel", "regression"])
def test_features_without_any_spread_do_no_harm(kind: Any) -> None:
    y: Any = np.arange(N) % 3
    if kind == "multilabel":
        y = (y[:, None] == np.arange(3)).astype(np.float32)
    classes = () if kind == "regression" else ("a", "b", "c")
    for each in fit_solutions(np.full((N, D), 7.0), y.astype(y.dtype), Target(kind, classes)):
        assert np.isfinite(each.weight).all()
        assert np.isfinite(each.bias).all()
        assert np.abs(each.weight).max() < 1e-6


def chosen(run: Any) -> tuple[Any, float]:
    """Return the solution that is best on the validation rows, by plain NumPy, and its accuracy."""
    x, y = fuse_rows(run.model, run.data, run.data.rows("train"), run.format)
    val, truth = fuse_rows(run.model, run.data, run.data.rows("val"), run.format)
    best: Any = None
    for each in fit_solutions(x, y.numpy(), run.target):
        logits = val @ each.weight.T + each.bias
        right = float((logits.argmax(1) == truth.numpy()).mean())
        shifted = logits - logits.max(1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        key = (right, logs[np.arange(len(val)), truth.numpy()].mean())
        if best is None or key > best[0]:
            best = (key, each)
    return best[1], best[0][0]


@pytest.mark.parametrize("poisoned", [False, True])
def test_the_strength_is_chosen_on_validation(bench: Callable[..., Any], poisoned: bool) -> None:
    run = bench()
    if poisoned:  # other validation labels, another choice
        val = run.data.rows("val")
        run.data.target[val] = (run.data.target[val] + 1) % 3
    expected, accuracy = chosen(run)
    notes = fit_linear_head(run.model, run.data, run.target, run.criterion, run.format)
    np.testing.assert_allclose(run.model.head.weight.detach(), expected.weight, rtol=1e-6)
    np.testing.assert_allclose(run.model.head.bias.detach(), expected.bias, rtol=1e-6)
    said = f"C = {expected.strength:g} of 0.0001 … 10000 by validation (accuracy {accuracy:.3f})"
    end = "; it is the last of the grid" if expected.strength in (1e-4, 1e4) else ""
    check_notes(notes, ("lp_ft", f"{said}{end}", "head"))
    strengths = {False: chosen(bench())[0].strength, True: expected.strength}
    assert (strengths[poisoned] != strengths[False]) is poisoned


def test_probing_changes_the_head_alone_and_draws_nothing(bench: Callable[..., Any]) -> None:
    run = bench()
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    run.model.train()
    torch.manual_seed(0)
    fit_linear_head(run.model, run.data, run.target, run.criterion, run.format)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))
    assert run.model.training
    after = run.model.state_dict()
    assert {n for n in before if not torch.equal(before[n], after[n])} == {
        "head.weight",
        "head.bias",
    }
    again = bench()
    fit_linear_head(again.model, again.data, again.target, again.criterion, again.format)
    assert torch.equal(again.model.head.weight, run.model.head.weight)
    with pytest.raises(DataError, match="locked"):
        run.data.rows("test")


@pytest.mark.parametrize(
    ("precision", "tip"),
    [
        ("fp32", "a smaller optimizer.lr trains a source that does not overflow"),
        ("bf16", "precision=fp32"),
    ],
)
def test_features_that_are_not_finite_are_refused(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, precision: str, tip: str
) -> None:
    run = bench(precision=precision)
    real = run.model.fuse
    monkeypatch.setattr(
        run.model,
        "fuse",
        lambda *given: real(*given).index_fill(0, torch.tensor([1, 3]), math.inf),
    )
    with pytest.raises(DivergedError) as caught:
        fit_linear_head(run.model, run.data, run.target, run.criterion, run.format)
    check_error(caught.value, "of 2", len(run.data.rows("train")), "rows", "finite", types=(tip,))


def test_a_run_fine_tunes_the_head_that_was_probed(
    once: Callable[[list[str]], Any], tables: dict[str, Any], overrides: Callable[..., list[str]]
) -> None:
    given = overrides(tables["one"], tables["two"], ("image",), "transfer.lp_ft=true")
    still = [*given, "control=none", "optimizer.lr=1e-12", "trainer.epochs=1", "precision=fp32"]
    run = once(still)
    summary = run.summary()
    (note,) = [text for text in summary["notes"] if text.startswith("lp_ft")]
    accuracy = summary["target"]["metrics"]["val"]["accuracy"]
    assert re.search(r"\(accuracy (.*)\)", note)[1] == f"{accuracy:.3f}"
    source, target = (
        checkpoint.read_checkpoint(run.stage_file(s))[0] for s in ("source", "target")
    )
    assert not torch.allclose(source["head.weight"], target["head.weight"], atol=1e-3)
    statistics = [name for name in source if "running" in name]
    assert statistics
    assert all(torch.equal(source[name], target[name]) for name in statistics)
    assert summary["transfer"]["fresh"] == 2
