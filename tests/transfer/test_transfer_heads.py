"""Each head against a second way to compute it: scikit-learn, or plain loops in float64."""

from __future__ import annotations

import copy
import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from mmx.contract import Part, check_part
from mmx.contract.discovery import find_classes
from mmx.transfer.heads import HEADS, FittedHead, Head
from mmx.transfer.heads.closed_form import LAMBDAS, ClosedForm
from mmx.transfer.heads.knn import Knn, KnnHead
from mmx.transfer.heads.linear import Linear, LinearHead
from mmx.transfer.heads.logistic import CS, UNSEEN, Logistic, fit_logistic
from mmx.transfer.heads.mlp import Mlp, MlpHead
from mmx.transfer.heads.rotation import rotate
from mmx.verbs.check import refuse


def data(rows: int, width: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return features that tell the classes apart, on scales of their own."""
    random = torch.Generator().manual_seed(seed)
    y = torch.arange(rows) % classes
    centres = torch.randn(classes, width, generator=random, dtype=torch.float64)
    x = 0.6 * centres[y] + torch.randn(rows, width, generator=random, dtype=torch.float64)
    return x * torch.logspace(-2, 2, width, dtype=torch.float64) + 3.0, y


def standardised(x: Tensor) -> tuple[np.ndarray, StandardScaler]:
    scaler = StandardScaler().fit(x.numpy())
    return scaler.transform(x.numpy()), scaler


SHAPES = [(40, 6, 3), (40, 60, 4), (30, 1, 2)]


def test_their_names_and_options() -> None:
    assert HEADS["closed_form"] is ClosedForm
    assert list(HEADS) == sorted(HEADS)
    assert repr(HEADS["knn"]()) == "Knn(k=20, temperature=0.07)"  # a cache's key holds it
    assert tuple(float(f"1e{power}") for power in range(-5, 5)) == CS
    assert pytest.approx([float(f"1e{power}") for power in range(-5, 4)]) == LAMBDAS
    assert Logistic.kinds == {"classes"}
    assert Knn.kinds == ClosedForm.kinds == Mlp.kinds == {"classes", "multilabel", "regression"}


@pytest.mark.parametrize("kind", find_classes("head"))
def test_keeps_the_contract(kind: type[Head]) -> None:
    results = list(check_part(Part(kind, {}, refuse)))
    assert [each for each in results if each.state == "failed"] == []
    skipped = [each.name for each in results if each.state == "skipped"]
    assert skipped == (["gradients"] if issubclass(kind, FittedHead) else [])


def test_every_head_can_be_chosen() -> None:
    assert set(HEADS.values()) == set(find_classes("head"))


# linear and mlp


def test_a_linear_head_is_a_linear_layer() -> None:
    torch.manual_seed(3)
    head = Linear().make(5, 2, "classes")
    torch.manual_seed(3)
    layer = nn.Linear(5, 2)
    assert isinstance(head, nn.Linear)
    assert head.state_dict().keys() == {"weight", "bias"}
    assert torch.equal(head.weight, layer.weight)
    x = torch.randn(4, 5)
    assert torch.equal(head(x), layer(x))


def test_a_normalised_head_follows_the_batch_then_running_statistics() -> None:
    head = Linear(normalize=True).make(3, 2, "classes")
    assert isinstance(head, LinearHead)
    assert set(head.state_dict()) == {
        "weight",
        "bias",
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    }
    x = 5 + 2 * torch.randn(8, 3)
    mean, var = x.mean(0), x.var(0, correction=0)
    wanted = F.linear((x - mean) / (var + 1e-5).sqrt(), head.weight, head.bias)
    assert torch.allclose(head(x), wanted, atol=1e-6)
    head.eval()
    running = 0.1 * mean, 0.9 + 0.1 * x.var(0)
    wanted = F.linear((x - running[0]) / (running[1] + 1e-5).sqrt(), head.weight, head.bias)
    assert torch.allclose(head(x), wanted, atol=1e-5)


def test_an_mlp_head() -> None:
    head = Mlp(width=4, dropout=0.5).make(3, 2, "regression")
    assert isinstance(head, MlpHead)
    x = torch.randn(6, 3)
    hidden = F.relu(x @ head.hidden.weight.T + head.hidden.bias)
    wanted = hidden @ head.out.weight.T + head.out.bias
    assert torch.allclose(head.eval()(x), wanted, atol=1e-6)
    head.train()
    torch.manual_seed(1)
    said = head(x)
    torch.manual_seed(1)
    kept = (F.dropout(torch.ones(6, 4), 0.5) * hidden) @ head.out.weight.T + head.out.bias
    assert torch.allclose(said, kept, atol=1e-6)
    assert not torch.allclose(said, wanted)


# knn


def knn_in_loops(
    x: Tensor, keys: Tensor, targets: Tensor, k: int, temperature: float
) -> list[list[float]]:
    """Return the weighted mean of the nearest rows' targets ``(N, C)``, in plain loops."""
    found = []
    for row in x.double().tolist():
        cosines = []
        for key in keys.double().tolist():
            norms = math.hypot(*row) * math.hypot(*key)
            cosines.append(sum(a * b for a, b in zip(row, key, strict=True)) / norms)
        nearest = sorted(range(len(cosines)), key=lambda i: (-cosines[i], i))[:k]
        votes = [math.exp(cosines[i] / temperature) for i in nearest]
        means = [
            sum(v * float(targets[i][c]) for v, i in zip(votes, nearest, strict=True)) / sum(votes)
            for c in range(targets.shape[1])
        ]
        found.append(means)
    return found


def fitted_knn(x: Tensor, y: Tensor, outputs: int, kind: str, **options: float) -> nn.Module:
    recipe = Knn(**options)
    (candidate,) = recipe.candidates(x, y, outputs, kind)
    assert candidate.value is None
    head = recipe.make(x.shape[1], outputs, kind).double()
    head.load_state_dict(candidate.state)
    return head


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (5, 1.0), (99, 0.3)])
def test_knn_in_loops(k: int, temperature: float) -> None:
    x, y = data(24, 5, 3)
    asked, _ = data(7, 5, 3, seed=1)
    rows = F.one_hot(y, 3).double()
    wanted = torch.tensor(knn_in_loops(asked, x, rows, k, temperature), dtype=torch.float64)
    head = fitted_knn(x, y, 3, "classes", k=k, temperature=temperature)
    assert torch.allclose(head(asked).exp(), (1 - 3e-6) * wanted + 1e-6, atol=1e-12)
    assert torch.allclose(head(asked).softmax(1).sum(1), torch.ones(7, dtype=torch.float64))
    number = fitted_knn(x, y.double() - 0.5, 1, "regression", k=k, temperature=temperature)
    wanted = torch.tensor(
        knn_in_loops(asked, x, y[:, None] - 0.5, k, temperature), dtype=torch.float64
    )
    assert torch.allclose(number(asked), wanted, atol=1e-12)
    tags = (x[:, :2] > x[:, :2].mean(0)).double()
    shares = torch.tensor(knn_in_loops(asked, x, tags, k, temperature), dtype=torch.float64)
    several = fitted_knn(x, tags, 2, "multilabel", k=k, temperature=temperature)
    assert torch.allclose(several(asked).sigmoid(), (1 - 2e-6) * shares + 1e-6, atol=1e-12)
    assert torch.equal(several(asked) > 0, shares > 0.5)


def test_of_equally_near_rows_the_first_vote() -> None:
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [4.0, 0.0]])
    head = fitted_knn(x, torch.tensor([0, 1, 2, 1]), 3, "classes", k=2)
    shares = head(torch.tensor([[8.0, 0.0]], dtype=torch.float64)).exp()
    assert shares.tolist()[0] == pytest.approx([0.5, 0.5, 0.0], abs=2e-6)


def test_knn_of_nothing_is_finite() -> None:
    x, y = torch.zeros(4, 3), torch.tensor([0, 1, 0, 1])
    head = fitted_knn(x, y, 2, "classes", k=3)
    assert head(torch.zeros(1, 3)).exp().tolist()[0] == pytest.approx([2 / 3, 1 / 3], abs=1e-5)


def test_knn_travels_in_a_state_dict_and_ignores_autocast() -> None:
    x, y = data(24, 5, 3)
    head = fitted_knn(x, y, 3, "classes").float()
    other = KnnHead(3, kind="classes", k=20, temperature=0.07)
    assert other.state_dict()["keys"].shape == (0, 0)
    other.load_state_dict(copy.deepcopy(head.state_dict()))
    assert list(other.parameters()) == []
    asked = data(9, 5, 3, seed=2)[0].float()
    assert torch.equal(other(asked), head(asked))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(other(asked), head(asked))


# rotation


def test_a_direction_that_is_rounding_of_a_large_mean_is_none() -> None:
    numbers = torch.Generator().manual_seed(3)
    x = 1 + 1e-6 * torch.randn(100, 2, generator=numbers, dtype=torch.float64)
    up = torch.nextafter(x[:, 0], torch.full((100,), 2.0, dtype=torch.float64))
    copied = torch.where(torch.arange(100) % 2 == 0, x[:, 0], up)  # equal but for the last bit
    assert rotate(torch.cat([x, copied[:, None]], dim=1)).directions.shape == (3, 2)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2), st.integers(0, 99))
@example(7, 1, 1, 0)
@example(2, 9, 0, 49)
def test_rotated_columns(rows: int, width: int, constant: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=random, dtype=torch.float64) * 100 + 7
    x[:, :constant] = 0.1 * 3
    turned = rotate(x)
    z, rank = turned.z, min(rows - 1, max(0, width - constant))
    assert z.shape == (rows, rank)
    gram = z.T @ z
    assert torch.allclose(gram, torch.diag(gram.diagonal()), atol=1e-9)
    assert torch.allclose(z.sum(0), torch.zeros(rank, dtype=torch.float64), atol=1e-9)
    standard = (x - turned.mean) / turned.scale
    assert torch.allclose(z @ turned.directions.T, standard, atol=1e-9)
    weights = torch.randn(rank, 2, generator=random, dtype=torch.float64)
    layer = turned.to_linear(weights, torch.ones(2, dtype=torch.float64))
    assert torch.allclose(F.linear(x, layer["weight"], layer["bias"]), z @ weights + 1, atol=1e-8)


# closed form


def layers(recipe: ClosedForm | Logistic, x: Tensor, y: Tensor, outputs: int, kind: str) -> dict:
    found = list(recipe.candidates(x, y, outputs, kind))
    for each in found:
        recipe.make(x.shape[1], outputs, kind).load_state_dict(each.state)
    return {
        each.value: (each.state["weight"].numpy(), each.state["bias"].numpy()) for each in found
    }


@pytest.mark.parametrize(("rows", "width", "classes"), SHAPES)
@pytest.mark.parametrize("kind", ["classes", "multilabel", "regression"])
def test_closed_form_is_ridge(rows: int, width: int, classes: int, kind: str) -> None:
    x, y = data(rows, width, classes)
    if kind == "classes":
        target, wanted = y, F.one_hot(y, classes).double()
    elif kind == "multilabel":
        target = torch.stack([y > 0, x[:, 0] > x[:, 0].mean()], dim=1).float()
        wanted = 2.0 * target.double() - 1
    else:
        target, wanted = x[:, 0] + y, (x[:, 0] + y)[:, None]
    outputs = wanted.shape[1]
    found = layers(ClosedForm(), x, target, outputs, kind)
    assert list(found) == sorted(LAMBDAS, reverse=True)
    standard, scaler = standardised(x)
    for strength, (weight, bias) in found.items():
        ridge = Ridge(alpha=rows * strength, solver="svd").fit(standard, wanted.numpy())
        coefficients = ridge.coef_.reshape(outputs, width) / scaler.scale_
        scale = np.abs(coefficients).max()
        assert np.abs(weight - coefficients).max() <= 1e-8 * max(1, scale)
        intercept = ridge.intercept_ - coefficients @ scaler.mean_
        assert np.abs(bias - intercept).max() <= 1e-8 * max(1, np.abs(intercept).max())


def test_lambda_means_the_same_for_twice_the_rows() -> None:
    x, y = data(20, 4, 2)
    once = layers(ClosedForm(grid=(0.3,)), x, y, 2, "classes")[0.3]
    twice = layers(ClosedForm(grid=(0.3,)), x.repeat(2, 1), y.repeat(2), 2, "classes")[0.3]
    assert np.allclose(once[0], twice[0], atol=1e-12)
    assert np.allclose(once[1], twice[1], atol=1e-12)


# logistic


def sklearns(x: Tensor, y: Tensor, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Return weight and bias on x of scikit-learn's solution on standardised features."""
    standard, scaler = standardised(x)
    if len(y.unique()) == 2:
        strength *= 2
    model = LogisticRegression(C=strength, tol=1e-10, max_iter=2000, solver="newton-cg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(standard, y.numpy())
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:  # of two classes scikit-learn has the difference
        weight, bias = np.concatenate([-weight, weight]) / 2, np.array([-bias[0], bias[0]]) / 2
    weight = weight / scaler.scale_
    return weight, bias - weight @ scaler.mean_


@pytest.mark.parametrize(("rows", "width", "classes"), SHAPES)
def test_logistic_is_scikit_learns_for_every_c(rows: int, width: int, classes: int) -> None:
    x, y = data(rows, width, classes)
    found = layers(Logistic(), x, y, classes, "classes")
    assert list(found) == list(CS)
    scale = standardised(x)[1].scale_
    for strength, (weight, bias) in found.items():
        coefficients, intercepts = sklearns(x, y, strength)
        close = 1e-4 * np.abs(coefficients * scale).max()
        assert np.abs((weight - coefficients) * scale).max() <= close, strength
        there = x.numpy() @ coefficients.T + intercepts
        here = x.numpy() @ weight.T + bias
        assert np.abs(here - there).max() <= 1e-3 * max(1, np.abs(there).max())


@pytest.mark.parametrize(("rows", "width", "classes"), SHAPES)
def test_at_its_solution_the_slope_is_zero(rows: int, width: int, classes: int) -> None:
    x, y = data(rows, width, classes)
    turned = rotate(x)
    standard = torch.from_numpy(standardised(x)[0])
    for strength, state in zip(CS, fit_logistic(x, y, classes, CS), strict=True):
        weight = (state["weight"] * turned.scale).requires_grad_(True)
        bias = (state["bias"] + state["weight"] @ turned.mean).requires_grad_(True)
        loss = strength * F.cross_entropy(standard @ weight.T + bias, y, reduction="sum")
        (loss + weight.square().sum() / 2).backward()
        assert weight.grad.norm() <= 2e-7 * weight.norm() + 1e-9
        assert bias.grad.norm() <= 2e-7 * weight.norm() + 1e-9


def test_one_batch_is_one_by_one() -> None:
    x, y = data(40, 6, 3)
    together = fit_logistic(x, y, 3, CS)
    for strength, state in zip(CS, together, strict=True):
        (alone,) = fit_logistic(x, y, 3, [strength])
        assert torch.allclose(state["weight"], alone["weight"], rtol=1e-5, atol=1e-8)


def test_a_class_without_rows_is_never_said() -> None:
    x, y = data(24, 5, 3)
    four = fit_logistic(x, 2 * y, 5, (0.1, 100.0))
    three = fit_logistic(x, y, 3, (0.1, 100.0))
    for wide, narrow in zip(four, three, strict=True):
        assert torch.equal(wide["weight"][::2], narrow["weight"])
        assert torch.equal(wide["weight"][1::2], torch.zeros(2, 5, dtype=torch.float64))
        assert wide["bias"][1::2].tolist() == [UNSEEN, UNSEEN]
        said = F.linear(x, wide["weight"], wide["bias"]).argmax(1)
        assert set(said.tolist()) <= {0, 2, 4}
    (one,) = fit_logistic(x, torch.ones(24).long(), 3, (1.0,))
    assert one["bias"].tolist() == [UNSEEN, 0.0, UNSEEN]
    assert not one["weight"].any()


def test_features_that_say_nothing_leave_the_shares() -> None:
    x, y = torch.full((12, 3), 0.7), torch.tensor([0] * 6 + [1] * 4 + [2] * 2)
    (state,) = fit_logistic(x, y, 3, (1.0,))
    assert not state["weight"].any()
    assert state["bias"].softmax(0).tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 6])
    (ridge,) = ClosedForm(grid=(1.0,)).candidates(x, y, 3, "classes")
    assert ridge.state["bias"].tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 6])


@pytest.mark.parametrize(
    "recipe", [Logistic(grid=(3.0, 0.1, 3.0)), ClosedForm(grid=(0.1, 3.0, 3.0))]
)
def test_the_most_regularised_comes_first(recipe: Logistic | ClosedForm) -> None:
    x, y = data(24, 5, 3)
    values = [each.value for each in recipe.candidates(x, y, 3, "classes")]
    assert values == ([0.1, 3.0] if isinstance(recipe, Logistic) else [3.0, 0.1])
    sizes = [each.state["weight"].norm() for each in recipe.candidates(x, y, 3, "classes")]
    assert sizes[0] < sizes[1]


def test_large_problems_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmx.transfer.heads import logistic

    x, y = data(24, 5, 3)
    whole = fit_logistic(x, y, 3, CS)
    sizes: list[int] = []
    solve = logistic.solve

    def counted(z: Tensor, labels: Tensor, classes: int, strengths: Tensor) -> Tensor:
        sizes.append(len(strengths))
        return solve(z, labels, classes, strengths)

    monkeypatch.setattr(logistic, "solve", counted)
    monkeypatch.setattr(logistic, "BATCH_NUMBERS", 24 * 3 * 4)
    parts = fit_logistic(x, y, 3, CS)
    assert sizes == [4, 4, 2]
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one["weight"], other["weight"], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("recipe", [ClosedForm, Logistic])
@pytest.mark.parametrize(
    ("width", "expected"), [(6, {"qr": 1, "svd": 1}), (60, {"svd": 1})], ids=["tall", "wide"]
)
def test_one_factorisation_however_long_the_grid(
    recipe: type[ClosedForm | Logistic],
    width: int,
    expected: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: Counter[str] = Counter()

    def counted(name: str) -> Callable[..., Any]:
        plain = getattr(torch.linalg, name)

        def call(*given: Any, **options: Any) -> Any:
            calls[name] += 1
            return plain(*given, **options)

        return call

    for name in dir(torch.linalg):
        public = name.islower() and not name.startswith("_")
        if public and "norm" not in name and callable(getattr(torch.linalg, name)):
            monkeypatch.setattr(torch.linalg, name, counted(name))
    x, y = data(40, width, 3)
    for grid in ((1.0,), (0.1, 1.0), tuple(10.0**power for power in range(-6, 6))):
        calls.clear()
        assert len(list(recipe(grid=grid).candidates(x, y, 3, "classes"))) == len(grid)
        assert calls == expected


def every(values: Sequence[Tensor]) -> Tensor:
    return torch.cat([each.flatten() for each in values])


@pytest.mark.parametrize("name", [n for n, kind in HEADS.items() if issubclass(kind, FittedHead)])
def test_fitting_draws_nothing(name: str) -> None:
    x, y = data(24, 5, 3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = [every(list(c.state.values())) for c in HEADS[name]().candidates(x, y, 3, "classes")]
    assert torch.equal(torch.get_rng_state(), before)
    again = [every(list(c.state.values())) for c in HEADS[name]().candidates(x, y, 3, "classes")]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
