"""Transferability scores: reference values, naive second implementations, invariances, messages."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import check_error, read_error
from scipy.optimize import minimize_scalar
from sklearn.covariance import LedoitWolf
from sklearn.metrics import mutual_info_score
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from mmx.transfer import scores
from mmx.transfer.scores import h_score, knn, leep, logme, nce, transrate

Array = np.ndarray[Any, np.dtype[Any]]
Score = Callable[[Array, Array], float]

OF_FEATURES: dict[str, Score] = {
    "logme": logme,
    "h_score": h_score,
    "h_score_shrunk": partial(h_score, shrinkage=True),
    "transrate": transrate,
    "knn": partial(knn, k=3),
}
LEAST_NOISE = 1e-8

F = np.array(
    [
        [math.sin(0.7 * (i + 1) * (j + 1)) + 0.5 * j * (i % 3 == j % 3) for j in range(5)]
        for i in range(24)
    ]
)
Y = np.arange(24) % 3


@st.composite
def tasks(draw: st.DrawFn, most_classes: int = 4, kinds: bool = True) -> tuple[Array, Array]:
    """Features (N, D), also D > N, and labels with gaps, some classes of one row."""
    rows, width = draw(st.integers(4, 14)), draw(st.integers(1, 18))
    count = draw(st.integers(2, most_classes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y = np.concatenate([np.arange(count), rng.integers(draw(st.integers(1, count)), size=rows)])
    y = rng.permutation(y)  # classes the second draw leaves out have one row
    x = rng.normal(size=(len(y), width)) + rng.normal(size=(count, width))[y]
    kind = draw(st.sampled_from(["plain", "columns", "rows", "constant", "zero", "scaled"]))
    if kinds and kind == "columns":
        x = np.concatenate([x, x[:, :1], -2 * x[:, -1:]], axis=1)
    elif kinds and kind == "rows":
        x[: len(y) // 2] = x[-1]
    elif kinds and kind == "constant":
        x[:, 0] = 0.5
    elif kinds and kind == "zero":
        x[:, -1] = 0.0
    elif kinds and kind == "scaled":
        x = 100 * x + 3
    names = draw(st.lists(st.integers(-50, 50), min_size=count, max_size=count, unique=True))
    return x, np.array(names)[y]


def of_classes(y: Array) -> Iterator[tuple[Any, list[int]]]:
    for name in sorted(set(y.tolist())):
        yield name, [n for n in range(len(y)) if y[n] == name]


def blobs(rows: int, width: int, count: int, spread: float, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % count
    centres = 4 * np.eye(count, width)
    return centres[y] + spread * rng.normal(size=(rows, width)), y


# --- values of the reference -----------------------------------------------------------------


def test_logme_of_the_reference() -> None:
    # The reference stopped its updates at a change of 1 % in α/β: the maximum lies a hair higher.
    assert logme(F, Y) == pytest.approx(-0.4767424, abs=2e-7)
    assert logme(F, Y) > -0.4767424
    assert logme(F, Y) == pytest.approx(-0.47674225858, abs=1e-11)
    assert updates(F, Y, tolerance=1e-2) == pytest.approx(-0.4767424, abs=5e-8)


def test_h_score_of_the_reference() -> None:
    assert h_score(F, Y) == pytest.approx(1.9303235, abs=5e-8)


# --- LogME -----------------------------------------------------------------------------------


def evidence(x: Array, t: Array, alpha: float, beta: float) -> float:
    """The paper's log evidence per row, in the space of the weights."""
    (rows, width), a = x.shape, alpha * np.eye(x.shape[1]) + beta * x.T @ x
    m = beta * np.linalg.solve(a, x.T @ t)
    found = width / 2 * math.log(alpha) + rows / 2 * math.log(beta) - rows / 2 * math.log(math.tau)
    found -= beta / 2 * ((x @ m - t) ** 2).sum() + alpha / 2 * m @ m
    return float(found - np.linalg.slogdet(a)[1] / 2) / rows


def updates(x: Array, y: Array, tolerance: float, ratio: float = 1.0) -> float:
    """The paper's alternating updates of α and β from α/β = ratio, β kept finite."""
    found = []
    eigenvalues = np.maximum(np.linalg.eigvalsh(x.T @ x), 0)
    for _, members in of_classes(y):
        t = np.zeros(len(y))
        t[members] = 1
        alpha, beta = ratio, 1.0
        for _ in range(300):
            old = alpha / beta
            m = beta * np.linalg.solve(alpha * np.eye(x.shape[1]) + beta * x.T @ x, x.T @ t)
            gamma = (beta * eigenvalues / (alpha + beta * eigenvalues)).sum()
            alpha = min(gamma / (m @ m + 1e-30), 1e12)
            misfit = ((x @ m - t) ** 2).sum()
            beta = min((len(y) - gamma) / max(misfit, 1e-30), 1 / LEAST_NOISE)
            beta = max(beta, 1e-6)
            if abs(alpha / beta - old) <= tolerance * old:
                break
        # m is that of the last update, as in the paper's own code
        a = alpha * np.eye(x.shape[1]) + beta * x.T @ x
        value = x.shape[1] / 2 * math.log(alpha) + len(y) / 2 * math.log(beta / math.tau)
        value -= beta / 2 * misfit + alpha / 2 * m @ m + np.linalg.slogdet(a)[1] / 2
        found.append(value / len(y))
    return float(np.mean(found))


def naive_logme(x: Array, y: Array) -> float:
    """The highest of the paper's evidence over α/β, β being the best for it, class by class.

    By least squares on [F; √(α/β) I] and its determinant, since F is often fitted exactly.
    """
    (rows, width), found = x.shape, []
    x = x / np.linalg.norm(x, 2) if x.any() else x
    for _, members in of_classes(y):
        t = np.zeros(rows)
        t[members] = 1

        def value(log: float, t: Array = t) -> float:
            stacked = np.concatenate([x, math.exp(log / 2) * np.eye(width)])
            m = np.linalg.lstsq(stacked, np.concatenate([t, np.zeros(width)]), rcond=1e-300)[0]
            misfit, length = ((x @ m - t) ** 2).sum(), m @ m
            beta = 1 / max((misfit + math.exp(log) * length) / rows, LEAST_NOISE)
            alpha = math.exp(log) * beta
            logdet = width * math.log(beta)
            logdet += 2 * np.log(np.abs(np.diagonal(np.linalg.qr(stacked, mode="r")))).sum()
            total = width * math.log(alpha) + rows * math.log(beta / math.tau) - logdet
            return float(total - beta * misfit - alpha * length) / 2 / rows

        grid = np.arange(-44, 16, 0.5)
        values = [value(log) for log in grid]
        best = grid[int(np.argmax(values))]
        bounds = (best - 0.5, best + 0.5)
        polished = minimize_scalar(
            lambda log: -value(log), bounds=bounds, method="bounded", options={"xatol": 1e-9}
        )
        found.append(max(-polished.fun, max(values)))
    return float(np.mean(found))


@settings(max_examples=25, deadline=None)
@given(tasks())
def test_logme_is_the_highest_evidence(task: tuple[Array, Array]) -> None:
    assert logme(*task) == pytest.approx(naive_logme(*task), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(tasks(), st.floats(-8, 8), st.floats(-8, 8))
def test_no_alpha_and_beta_have_more_evidence(
    task: tuple[Array, Array], log_alpha: float, log_beta: float
) -> None:
    x, y = task
    found = [
        evidence(x, (y == name).astype(float), math.exp(log_alpha), math.exp(log_beta))
        for name, _ in of_classes(y)
    ]
    assert logme(x, y) >= np.mean(found) - 1e-9


@settings(max_examples=25, deadline=None)
@given(tasks(kinds=False), st.sampled_from([1e-3, 1.0, 1e3]))
def test_logme_is_never_below_the_papers_updates(task: tuple[Array, Array], ratio: float) -> None:
    assert logme(*task) >= updates(*task, tolerance=1e-3, ratio=ratio) - 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_logme_is_where_the_papers_updates_converge(seed: int) -> None:
    x, y = blobs(60, 5, 3, 2.0, seed)
    assert logme(x, y) == pytest.approx(updates(x, y, tolerance=1e-12), abs=1e-10)


def nothing(y: Array) -> float:
    """Evidence of features that explain nothing: white noise of the best variance."""
    shares = [len(members) / len(y) for _, members in of_classes(y)]
    return float(np.mean([-0.5 * (math.log(math.tau * share) + 1) for share in shares]))


def test_logme_of_features_that_explain_nothing() -> None:
    y = np.array([0, 0, 1, 2, 2, 2])
    assert logme(np.zeros((6, 3)), y) == pytest.approx(nothing(y), abs=1e-12)
    # One direction for each row: signal and noise are the same thing.
    assert logme(np.eye(6), y) == pytest.approx(nothing(y), abs=1e-12)
    assert logme(7 * np.eye(6, 9), y) == pytest.approx(nothing(y), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(tasks())
def test_logme_lies_between_nothing_and_the_least_noise(task: tuple[Array, Array]) -> None:
    assert nothing(task[1]) - 1e-12 <= logme(*task) <= -0.5 * math.log(math.tau * LEAST_NOISE)


def test_logme_of_an_exact_fit_is_bounded_by_the_least_noise() -> None:
    # F = t: y ~ N(0, s² I + t tᵀ/α), one direction of N with ‖t‖² = 5.
    y = np.array([0] * 5 + [1] * 5)
    x = np.eye(2)[y]

    def value(log: float) -> float:
        explained = LEAST_NOISE + 5 * math.exp(log)  # the variance along t; along the rest s²
        logs = math.log(math.tau * explained) + math.log(math.tau * LEAST_NOISE) * 8
        logs += math.log(math.tau * (LEAST_NOISE + 5 * math.exp(log)))  # the other class's
        return -0.5 * (logs + 5 / explained) / 10

    best = minimize_scalar(lambda log: -value(log), bounds=(-20, 20), method="bounded")
    assert logme(x, y) == pytest.approx(-best.fun, abs=1e-6)
    assert logme(x, y) > 6


# --- H-score ---------------------------------------------------------------------------------


def covariances(x: Array, y: Array) -> tuple[Array, Array]:
    """Covariance of the features and of their class means, row by row."""
    rows, width = x.shape
    mean = x.sum(0) / rows
    total, between = np.zeros((width, width)), np.zeros((width, width))
    for n in range(rows):
        total += np.outer(x[n] - mean, x[n] - mean) / rows
    for _, members in of_classes(y):
        off = sum(x[n] for n in members) / len(members) - mean
        between += len(members) / rows * np.outer(off, off)
    return total, between


@settings(max_examples=100, deadline=None)
@given(tasks())
def test_h_score_is_the_formula(task: tuple[Array, Array]) -> None:
    total, between = covariances(*task)
    naive = np.trace(np.linalg.pinv(total, rcond=1e-10, hermitian=True) @ between)
    assert h_score(*task) == pytest.approx(naive, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(tasks())
def test_shrunk_h_score_is_the_formula(task: tuple[Array, Array]) -> None:
    x, y = task
    estimate = LedoitWolf().fit(x)
    _, between = covariances(x, y)
    inverse = np.linalg.pinv(estimate.covariance_, rcond=1e-10, hermitian=True)
    naive = (1 - estimate.shrinkage_) * np.trace(inverse @ between)
    assert h_score(x, y, shrinkage=True) == pytest.approx(naive, abs=1e-6)


def test_shrinkage_of_few_rows_is_partial() -> None:
    for rows in (6, 20, 200):
        x, y = blobs(rows, 30, 3, 2.0)
        assert 0 < h_score(x, y, shrinkage=True) < h_score(x, y) <= 2 + 1e-12


def test_one_feature_shrinks_to_itself() -> None:
    x, y = blobs(30, 1, 2, 2.0)
    assert h_score(x, y, shrinkage=True) == pytest.approx(h_score(x, y), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(tasks())
def test_h_score_lies_between_zero_and_the_classes_less_one(task: tuple[Array, Array]) -> None:
    most = min(task[0].shape[1], len(set(task[1].tolist())) - 1)
    for shrinkage in (False, True):
        assert 0 <= h_score(*task, shrinkage=shrinkage) <= most + 1e-9


def test_h_score_of_wide_features_says_nothing() -> None:
    rng = np.random.default_rng(0)
    for width in (11, 12, 40):  # N = 12 rows
        assert h_score(rng.normal(size=(12, width)), np.arange(12) % 3) == pytest.approx(2)
    assert h_score(rng.normal(size=(12, 40)), np.arange(12) % 3, shrinkage=True) < 1.5


def test_h_score_of_one_feature_is_the_correlation_ratio() -> None:
    # Means 1 and 3 about 2, variance within 1: 1 / (1 + 1).
    assert h_score(np.array([[0.0], [2.0], [2.0], [4.0]]), np.array([0, 0, 1, 1])) == pytest.approx(
        0.5
    )


@pytest.mark.parametrize("seed", range(4))
def test_h_score_does_not_notice_affine_maps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = blobs(40, 6, 3, 3.0, seed)
    mapped = x @ rng.normal(size=(6, 6)) + 10 * rng.normal(size=6)
    assert h_score(mapped, y) == pytest.approx(h_score(x, y), abs=1e-9)
    assert h_score(mapped, y, shrinkage=True) != pytest.approx(h_score(x, y, shrinkage=True))
    scales = 10.0 ** np.array([-150, -20, -3, 0, 8, 60])
    assert h_score(x * scales, y) == pytest.approx(h_score(x, y), abs=1e-9)
    assert h_score(x + 1e6, y) == pytest.approx(h_score(x, y), abs=1e-6)


@pytest.mark.parametrize("constant", [0.1, 1e9, -1e-9, 1 / 3])
@pytest.mark.parametrize("shrinkage", [False, True])
def test_constant_features_add_nothing_to_h_score(constant: float, shrinkage: bool) -> None:
    x, y = blobs(997, 4, 3, 3.0)
    padded = np.concatenate([x, np.full((997, 1), constant)], axis=1)
    zero = np.concatenate([x, np.zeros((997, 1))], axis=1)
    assert h_score(padded, y, shrinkage) == pytest.approx(h_score(zero, y, shrinkage), abs=1e-6)
    assert h_score(padded[:, 4:], y, shrinkage) == 0.0


def test_repeated_rows_add_no_direction_to_h_score() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        x = rng.normal(size=(6, 5)) + 10 * rng.normal(size=5)
        x[3:] = x[0]  # three points, so two directions, and both classes have the first
        y = np.array([0, 0, 0, 1, 0, 0])
        total, between = covariances(x, y)
        naive = np.trace(np.linalg.pinv(total, rcond=1e-10, hermitian=True) @ between)
        assert h_score(x, y) == pytest.approx(naive, abs=1e-9)


# --- TransRate -------------------------------------------------------------------------------


def naive_rate(x: Array, eps: float) -> float:
    gram = np.eye(x.shape[1])
    for row in x:
        gram += np.outer(row, row) / (len(x) * eps)
    return 0.5 * float(np.linalg.slogdet(gram)[1])


@settings(max_examples=100, deadline=None)
@given(tasks(), st.sampled_from([1e-4, 0.1, 1.0, 50.0]))
def test_transrate_is_the_formula(task: tuple[Array, Array], eps: float) -> None:
    x, y = task
    centred = x - x.sum(0) / len(x)
    naive = naive_rate(centred, eps)
    for _, members in of_classes(y):
        naive -= len(members) / len(y) * naive_rate(centred[members], eps)
    assert transrate(x, y, eps) == pytest.approx(naive, rel=1e-7, abs=1e-7)
    assert 0 <= transrate(x, y, eps) <= naive_rate(centred, eps) + 1e-9


def test_transrate_by_hand() -> None:
    # ±1 about the mean: R = ½ log(1 + 1/ε); class 0 has 3 rows at −1, class 1 has one at 3.
    x, y = np.array([[0.0], [0.0], [0.0], [4.0]]), np.array([0, 0, 0, 1])
    expected = 0.5 * (math.log(1 + 3 / 0.5) - 0.75 * math.log(1 + 1 / 0.5) - 0.25 * math.log(19))
    assert transrate(x, y, eps=0.5) == pytest.approx(expected, abs=1e-14)


def test_eps_of_transrate_is_a_ten_thousandth_unless_given() -> None:
    assert transrate(F, Y) == transrate(F, Y, eps=1e-4) != transrate(F, Y, eps=1e-3)


def test_transrate_of_equal_classes_is_the_plain_mean() -> None:
    centred = F - F.mean(0)
    within = [naive_rate(centred[c == Y], 1e-4) for c in range(3)]
    expected = naive_rate(centred, 1e-4) - sum(within) / 3
    assert transrate(F, Y) == pytest.approx(expected, abs=1e-10)


def test_classes_of_the_same_moments_have_a_transrate_of_zero() -> None:
    x = np.random.default_rng(0).normal(size=(10, 3))
    x -= x.mean(0)
    both = np.concatenate([x, -x])
    assert transrate(both, np.repeat([4, 9], 10)) == pytest.approx(0, abs=1e-12)


def test_transrate_sees_small_directions_behind_large_ones() -> None:
    # Two orthogonal directions, 10¹⁰ and 10⁻² long; the small one tells the classes apart.
    large = np.array([1.0, -1.0, 1.0, -1.0]) * 1e10
    small = np.array([1.0, 1.0, -1.0, -1.0]) * 1e-2
    rotation = np.array([[0.8, -0.6], [0.6, 0.8]])
    x, y = np.stack([large, small], axis=1), np.array([0, 0, 1, 1])
    # Within a class the small direction is constant and the other sums to zero: the same moments.
    assert transrate(x, y, 1e-4) == pytest.approx(0, abs=1e-9)
    y = np.array([0, 1, 2, 2])
    expected = 0.5 * (math.log1p(1e24) + math.log1p(1)) - 0.25 * math.log1p(1e24 + 1)
    expected -= 0.25 * (math.log1p(1e24) + math.log1p(1))
    assert transrate(x, y, 1e-4) == pytest.approx(expected, abs=1e-9)
    assert transrate(x @ rotation, y, 1e-4) == pytest.approx(expected, abs=1e-3)


# --- LEEP and NCE ----------------------------------------------------------------------------


def naive_leep(theta: Array, y: Array) -> float:
    rows, sources = theta.shape
    total = 0.0
    for n in range(rows):
        likelihood = 0.0
        for z in range(sources):
            joint = sum(theta[m, z] for m in range(rows) if y[m] == y[n])
            marginal = sum(theta[m, z] for m in range(rows))
            likelihood += theta[n, z] * (joint / marginal if marginal else 0.0)
        total += math.log(likelihood)
    return total / rows


def naive_nce(z: Array, y: Array) -> float:
    rows = len(y)
    pairs, alone = Counter(zip(z.tolist(), y.tolist(), strict=True)), Counter(z.tolist())
    return sum(n / rows * math.log(n / alone[source]) for (source, _), n in pairs.items())


def entropy(y: Array) -> float:
    shares = [len(members) / len(y) for _, members in of_classes(y)]
    return -sum(share * math.log(share) for share in shares)


@st.composite
def predictions(draw: st.DrawFn) -> tuple[Array, Array]:
    """Probabilities (N, Z), some exactly 0, of Z source classes, and labels."""
    _, y = draw(tasks())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sources = draw(st.integers(1, 6))
    theta = rng.dirichlet(np.full(sources, draw(st.sampled_from([0.05, 1.0, 20.0]))), size=len(y))
    theta[theta < draw(st.sampled_from([0.0, 0.1]))] = 0
    return theta / theta.sum(1, keepdims=True), y


@settings(max_examples=100, deadline=None)
@given(predictions())
def test_leep_is_the_formula(task: tuple[Array, Array]) -> None:
    assert leep(*task) == pytest.approx(naive_leep(*task), abs=1e-12)
    assert -entropy(task[1]) - 1e-12 <= leep(*task) <= 0


@settings(max_examples=100, deadline=None)
@given(tasks(), st.data())
def test_nce_is_the_formula(task: tuple[Array, Array], data: st.DataObject) -> None:
    y = task[1]
    z = np.array(data.draw(st.lists(st.integers(-3, 3), min_size=len(y), max_size=len(y))))
    assert nce(z, y) == pytest.approx(naive_nce(z, y), abs=1e-12)
    assert nce(z, y) == pytest.approx(mutual_info_score(z, y) - entropy(y), abs=1e-12)
    assert -entropy(y) - 1e-12 <= nce(z, y) <= 0
    one_hot = (z[:, None] == np.arange(-3, 4)).astype(float)
    assert leep(one_hot, y) == pytest.approx(nce(z, y), abs=1e-12)


def test_leep_and_nce_by_hand() -> None:
    y = np.array([0, 0, 1, 1])
    theta = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    # P(0 | z=0) = 2/2.5, P(1 | z=0) = 0.5/2.5, P(1 | z=1) = 1
    expected = (2 * math.log(0.8) + math.log(0.5 * 0.2 + 0.5) + math.log(1)) / 4
    assert leep(theta, y) == pytest.approx(expected, abs=1e-15)
    assert nce(np.array([7, 7, 7, -1]), y) == pytest.approx(
        (2 * math.log(2 / 3) + math.log(1 / 3)) / 4, abs=1e-15
    )


@pytest.mark.parametrize("y", [Y, np.array([0, 0, 0, 1, 5, 5])])
def test_ends_of_leep_and_nce(y: Array) -> None:
    for sources in (1, 3):  # says nothing
        theta = np.full((len(y), sources), 1 / sources)
        assert leep(theta, y) == pytest.approx(-entropy(y), abs=1e-12)
    assert nce(np.full(len(y), 3), y) == pytest.approx(-entropy(y), abs=1e-12)
    assert nce(10 - y, y) == leep(np.eye(6)[y], y) == 0.0
    assert nce(np.arange(len(y)), y) == 0.0  # each row a source class of its own


def test_source_classes_have_no_order() -> None:
    rng = np.random.default_rng(0)
    theta, z = rng.dirichlet(np.ones(5), size=24), rng.integers(5, size=24)
    order = rng.permutation(5)
    assert leep(theta[:, order], Y) == pytest.approx(leep(theta, Y), abs=1e-12)
    assert nce(order[z] * 100 - 7, Y) == pytest.approx(nce(z, Y), abs=1e-12)


def test_half_precision_probabilities_are_brought_to_sum_one() -> None:
    theta = torch.softmax(torch.randn(24, 11, generator=torch.manual_seed(0)), dim=1)
    rough = theta.bfloat16()
    sums = rough.double().sum(1, keepdim=True)
    assert (sums != 1).any()
    assert leep(rough, Y) == pytest.approx(leep(rough.double() / sums, Y), abs=1e-14)


# --- k-NN ------------------------------------------------------------------------------------


def naive_knn(x: list[list[int]], y: list[int], k: int) -> float:
    """In exact arithmetic: cosines compare as signed squares, which are fractions."""
    right = Fraction(0)
    for n, row in enumerate(x):
        similar: dict[int, Fraction] = {}
        for m, other in enumerate(x):
            dot = sum(a * b for a, b in zip(row, other, strict=True))
            norms = sum(a * a for a in row) * sum(b * b for b in other)
            if m != n:
                similar[m] = Fraction(dot * abs(dot), norms) if norms else Fraction(0)
        least = sorted(similar.values(), reverse=True)[k - 1]
        votes = Counter(y[m] for m, value in similar.items() if value >= least)
        winners = [label for label, count in votes.items() if count == max(votes.values())]
        right += Fraction(int(y[n] in winners), len(winners))
    return float(right / len(x))


@st.composite
def grids(draw: st.DrawFn) -> tuple[list[list[int]], list[int], int]:
    """Small integers, so that many distances and votes are equal; zero rows too."""
    rows, width = draw(st.integers(3, 14)), draw(st.integers(1, 4))
    numbers = st.lists(st.integers(-2, 2), min_size=width, max_size=width)
    x = draw(st.lists(numbers, min_size=rows, max_size=rows))
    y = [0, 1, *draw(st.lists(st.integers(0, 3), min_size=rows - 2, max_size=rows - 2))]
    return x, y, draw(st.integers(1, rows - 1))


@settings(max_examples=200, deadline=None)
@given(grids())
def test_knn_is_the_formula_with_all_its_ties(task: tuple[list[list[int]], list[int], int]) -> None:
    x, y, k = task
    assert knn(np.array(x), np.array(y), k) == pytest.approx(naive_knn(x, y, k), abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_knn_of_two_classes_is_scikit_learns(k: int) -> None:
    x, y = blobs(60, 5, 2, 6.0)  # odd k of two classes has no ties
    classifier = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
    expected = cross_val_score(classifier, x, y, cv=LeaveOneOut()).mean()
    assert 0.5 < expected < 1
    assert knn(x, y, k) == pytest.approx(expected, abs=1e-12)


def test_knn_by_hand() -> None:
    x = np.array([[1.0, 0.0], [2.0, 0.0], [1.0, 1.0], [0.0, 5.0]])
    y = np.array([0, 0, 1, 1])
    # Row 2 is as far from 0 and 1 as from 3: two votes against one. The others find a friend.
    assert knn(x, y, 1) == 0.75
    # All three others vote: one for the own class, two against.
    assert knn(x, y, 3) == 0.0
    # Of rows 0 and 1 the second neighbour is row 2: one vote each. Row 3 likewise, by a tie.
    assert knn(x, y, 2) == (0.5 + 0.5 + 0 + 0) / 4


def test_blocks_of_knn_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = blobs(101, 4, 3, 4.0)
    whole = [knn(x, y, k) for k in (1, 4, 100)]
    module = __import__("sys").modules["mmx.transfer.scores.knn"]
    for block in (1, 101 * 7, 101 * 100):
        monkeypatch.setattr(module, "BLOCK", block)
        assert [knn(x, y, k) for k in (1, 4, 100)] == pytest.approx(whole, abs=1e-12)


def test_a_class_with_one_row_is_never_right() -> None:
    x, y = blobs(21, 3, 3, 0.01)
    assert knn(x, y, 1) == 1.0
    y[0] = 9
    assert knn(x, y, 1) <= 20 / 21


# --- what all have in common -----------------------------------------------------------------


@pytest.mark.parametrize("name", OF_FEATURES)
@settings(max_examples=25, deadline=None)
@given(task=tasks(), seed=st.integers(0, 99))
def test_order_of_rows_and_names_of_classes_do_not_matter(
    name: str, task: tuple[Array, Array], seed: int
) -> None:
    (x, y), rng, score = task, np.random.default_rng(seed), OF_FEATURES[name]
    order = rng.permutation(len(y))
    expected = pytest.approx(score(x, y), abs=1e-6)
    assert score(x[order], y[order]) == expected
    names = rng.permutation(101)
    assert score(x, names[y + 50] - 1000) == expected


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "unchanged"),
    [
        ("logme", "rotated scaled padded"),
        ("h_score", "rotated scaled padded shifted"),
        ("h_score_shrunk", "rotated scaled shifted"),
        ("transrate", "rotated padded shifted"),
        ("knn", "rotated scaled padded"),
    ],
)
def test_invariances(name: str, unchanged: str, seed: int) -> None:
    rng, score = np.random.default_rng(seed), OF_FEATURES[name]
    x, y = blobs(90, 6, 3, 4.0, seed)
    changes = {
        "rotated": x @ np.linalg.qr(rng.normal(size=(6, 6)))[0],
        "scaled": 37.5 * x,
        "padded": np.concatenate([x, np.zeros((90, 4))], axis=1),
        "shifted": x + 20 * rng.normal(size=6),
    }
    for change, changed in changes.items():
        same = score(changed, y) == pytest.approx(score(x, y), abs=1e-9)
        assert same == (change in unchanged), change


@pytest.mark.parametrize("name", OF_FEATURES)
def test_better_features_score_higher(name: str) -> None:
    score = OF_FEATURES[name]
    rng = np.random.default_rng(7)
    found = []
    for spread in (0.3, 1.0, 3.0):
        x, y = blobs(300, 8, 3, spread, 1)
        found.append(score(x / x.std(), y))  # one scale, which transrate asks for
    found.append(score(rng.normal(size=(300, 8)), y))
    assert found == sorted(found, reverse=True)
    assert found[0] > found[1] > found[-1]


def test_better_predictions_score_higher() -> None:
    rng = np.random.default_rng(3)
    y = np.arange(300) % 3
    theta = rng.dirichlet(np.ones(6), size=300)
    right = np.eye(6)[2 * y]
    found = [leep((1 - a) * right + a * theta, y) for a in (0, 0.3, 0.8, 1)]
    assert found == sorted(found, reverse=True)
    z = rng.integers(6, size=300)
    found = [nce(np.where(rng.random(300) < a, z, 2 * y), y) for a in (0, 0.3, 0.8, 1)]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_magnitudes_far_from_one(name: str) -> None:
    x, y = blobs(40, 5, 3, 3.0)
    for magnitude in (1e-90, 1e-30, 1e30, 1e90):
        found = OF_FEATURES[name](x * magnitude, y)
        assert type(found) is float
        assert math.isfinite(found)
        if name != "transrate":
            assert found == pytest.approx(OF_FEATURES[name](x, y), abs=1e-9)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_features_that_do_not_vary(name: str) -> None:
    y = np.array([0, 0, 0, 1, 1, 2])
    expected = {"logme": nothing(y), "knn": 0.25}.get(name, 0.0)
    assert OF_FEATURES[name](np.zeros((6, 3)), y) == pytest.approx(expected, abs=1e-12)
    if name == "logme":  # no bias: a constant explains the mean
        assert logme(np.ones((6, 3)), y) > expected
    elif name == "knn":  # all others vote: 2:2:1 for the first class, 3:1:1 and 3:2 else
        assert knn(np.ones((6, 3)), y, 3) == knn(np.zeros((6, 3)), y, 3)
    else:
        assert OF_FEATURES[name](np.full((6, 3), 0.1), y) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_two_rows_are_enough(name: str) -> None:
    assert math.isfinite(OF_FEATURES[name](np.ones((4, 1)), np.array([3, 3, 3, 8])))
    score = partial(knn, k=1) if name == "knn" else OF_FEATURES[name]
    assert math.isfinite(score(np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([3, 8])))


@pytest.mark.parametrize("name", OF_FEATURES)
def test_tensors_are_arrays(name: str) -> None:
    score = OF_FEATURES[name]
    x = torch.from_numpy(F).bfloat16().requires_grad_()  # which NumPy does not know
    expected = score(x.detach().double().numpy(), Y)
    for labels in (torch.from_numpy(Y), torch.from_numpy(Y).to(torch.uint8), Y.astype(np.int32)):
        found = score(x, labels)
        assert type(found) is float
        assert found == expected
    assert score(F.astype(np.float32), Y) == score(F.astype(np.float32).astype(float), Y)


def test_tensors_are_arrays_for_leep_and_nce() -> None:
    theta = torch.softmax(torch.from_numpy(F), dim=1)
    assert leep(theta, torch.from_numpy(Y)) == leep(theta.numpy(), Y)
    assert nce(torch.from_numpy(Y) // 2, torch.from_numpy(Y)) == nce(Y // 2, Y)
    assert type(leep(theta, Y)) is type(nce(Y, Y)) is float


def test_lists_are_arrays() -> None:
    for score in OF_FEATURES.values():
        assert score(F.tolist(), Y.tolist()) == score(F, Y)
    theta = np.exp(F) / np.exp(F).sum(1, keepdims=True)
    assert leep(theta.tolist(), Y.tolist()) == leep(theta, Y)
    assert nce(Y.tolist(), Y.tolist()) == nce(Y, Y)


def test_nothing_given_is_changed() -> None:
    theta = np.exp(F) / np.exp(F).sum(1, keepdims=True) * 1.001
    kept = F.copy(), Y.copy(), theta.copy()
    for score in OF_FEATURES.values():
        score(F, Y)
    leep(theta, Y)
    nce(Y, Y)
    assert all((now == then).all() for now, then in zip((F, Y, theta), kept, strict=True))


@pytest.mark.parametrize("name", scores.SCORES)
def test_every_score_of_a_ranking_reads_no_names_and_no_order(name: str) -> None:
    score = scores.SCORES[name]
    x, y = (torch.from_numpy(array) for array in blobs(90, 6, 3, 1.5, 5))
    if score.reads_source_outputs:
        x = x[:, :4].softmax(1)
    kept, turn = x.clone(), torch.from_numpy(np.random.default_rng(5).permutation(90))
    found, guessed = score.compute(x, y), score.compute(x, y[turn])
    assert isinstance(found, float)
    assert math.isfinite(found)
    assert guessed < found
    assert score.compute(x[turn], y[turn]) == pytest.approx(found, rel=1e-9)
    assert score.compute(x, (7 - y) * 3) == pytest.approx(found, rel=1e-9)
    assert x.equal(kept)


def test_the_package_offers_six() -> None:
    functions = [name for name in scores.__all__ if inspect.isfunction(getattr(scores, name))]
    assert functions == ["h_score", "knn", "leep", "logme", "nce", "transrate"]
    assert scores.SCORES.keys() >= {"h_score_shrunk", *functions}


def test_the_arguments_of_the_six() -> None:
    said = {
        "logme": "(features, labels)",
        "h_score": "(features, labels, shrinkage=False)",
        "leep": "(source_probabilities, labels)",
        "nce": "(source_labels, labels)",
        "transrate": "(features, labels, eps=0.0001)",
        "knn": "(features, labels, k)",
    }
    for name, wanted in said.items():
        found = inspect.signature(getattr(scores, name))
        assert found.return_annotation == "float"
        bare = [each.replace(annotation=each.empty) for each in found.parameters.values()]
        assert str(inspect.Signature(bare)) == wanted


# --- messages --------------------------------------------------------------------------------

HOLES = np.where(np.arange(120).reshape(24, 5) % 50 == 7, np.nan, F)
INFINITE = np.where(np.arange(120).reshape(24, 5) == 16, -np.inf, F)
MATRICES = [
    (F[0], "{} must have shape (N, D) with D ≥ 1, got (5,)"),
    (F[None], "{} must have shape (N, D) with D ≥ 1, got (1, 24, 5)"),
    (F[:, :0], "{} must have shape (N, D) with D ≥ 1, got (24, 0)"),
    (F[:1], "{} must have at least 2 rows, got 1"),
    (F[:0], "{} must have at least 2 rows, got 0"),
    (F * 1j, "{} must be real numbers, got dtype complex128"),
    (F.astype(str), "{} must be real numbers, got dtype <U32"),
    (HOLES, "{} must be finite, got 3 values that are NaN or infinite"),
    (INFINITE, "{} must be finite, got 1 values that are NaN or infinite"),
    (F * 1e101, "{} must be at most 1e+100 in magnitude, got 2.77389e+101"),
    (F[:20], "{} has 20 rows and labels has 24"),
]
LABELS = [
    (Y.astype(float), "labels must be integers, got dtype float64"),
    (Y > 0, "labels must be integers, got dtype bool"),
    (Y.astype(str), "labels must be integers, got dtype <U21"),
    (Y[:, None], "labels must have shape (N,), got (24, 1)"),
    (np.array(3), "labels must have shape (N,), got ()"),
    (Y[:1], "labels must have at least 2 rows, got 1"),
    (0 * Y + 4, "labels must name at least 2 classes, got only class 4"),
]


def message(call: Callable[[], float]) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("name", OF_FEATURES)
@pytest.mark.parametrize(("features", "said"), MATRICES)
def test_features_that_cannot_be_scored(name: str, features: Array, said: str) -> None:
    assert message(lambda: OF_FEATURES[name](features, Y)) == said.format("features")


@pytest.mark.parametrize("score", [*OF_FEATURES.values(), lambda x, y: leep(abs(x), y)])
@pytest.mark.parametrize(("labels", "said"), LABELS)
def test_labels_that_cannot_be_scored(score: Score, labels: Array, said: str) -> None:
    assert message(lambda: score(F, labels)) == said


@pytest.mark.parametrize(("theta", "said"), MATRICES)
def test_probabilities_that_cannot_be_scored(theta: Array, said: str) -> None:
    assert message(lambda: leep(theta, Y)) == said.format("source_probabilities")


def test_probabilities_that_are_none() -> None:
    theta = np.full((24, 4), 0.25)
    theta[5] = [0.5, 0.6, -0.1, 0]
    said = "source_probabilities must not be negative, got -0.1"
    assert message(lambda: leep(theta, Y)) == said
    theta[5] = [0.25, 0.25, 0.25, 0.1]
    theta[6] = [0.25, 0.25, 0.25, 0.3]
    said = "rows of source_probabilities must sum to 1, row 5 sums to 0.85"
    assert message(lambda: leep(theta, Y)) == said
    theta[5, 3] = 0.26
    theta[6, 3] = 0.241
    assert message(lambda: leep(theta * 1.02, Y)).endswith("row 5 sums to 1.0302")
    assert leep(theta * 0.9999, Y) < 0


@pytest.mark.parametrize(("labels", "said"), LABELS)
def test_labels_that_nce_cannot_score(labels: Array, said: str) -> None:
    assert message(lambda: nce(Y, labels)) == said
    if "classes" not in said:  # one source class is a source that says nothing
        assert message(lambda: nce(labels, Y)) == said.replace("labels", "source_labels", 1)
    check_error(
        read_error(message(lambda: nce(Y[:23], Y))),
        "source_labels",
        "23 rows",
        "24",
        "rows",
        "labels",
    )


@pytest.mark.parametrize("eps", [0, -1e-4, math.nan, math.inf])
def test_eps_that_is_no_distortion(eps: float) -> None:
    said = f"eps must be above 0 and finite, got {eps}"
    assert message(lambda: transrate(F, Y, eps=eps)) == said


@pytest.mark.parametrize("k", [0, -1, 24, 100])
def test_k_out_of_range(k: int) -> None:
    check_error(read_error(message(lambda: knn(F, Y, k))), "k", "1", "23", k)


@pytest.mark.parametrize("k", [1.0, "3", True, None])
def test_k_that_is_no_integer(k: Any) -> None:
    check_error(read_error(message(lambda: knn(F, Y, k))), "k", "integer", f"{k!r}")


def test_k_may_be_numpys() -> None:
    assert knn(F, Y, np.int64(23)) == knn(F, Y, 23)
