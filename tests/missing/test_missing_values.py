"""Each imputing method against scikit-learn, on the modalities side by side."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import Ridge
from torch import Tensor

from mmx.missing.base import Shape
from mmx.missing.generate import Generate
from mmx.missing.imputing import Imputing
from mmx.missing.knn import KnnImputation
from mmx.missing.mean import Mean
from mmx.modalities import Encoded, Features

SHAPES = {"a": Shape(4, (2,)), "b": Shape(3), "c": Shape(2, (3, 1))}
SIZES = {"a": 6, "b": 3, "c": 6}
N = 60
Array = npt.NDArray[np.float64]


def rows(count: int, seed: int, chance: float = 0.6) -> Encoded:
    """Return rows whose modalities share hidden numbers; some modalities are absent."""
    numbers, fixed = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(0)
    hidden = torch.randn(count, 3, generator=numbers)
    here = torch.rand(count, len(SHAPES), generator=numbers) < chance
    here[torch.arange(count), torch.arange(count) % len(SHAPES)] = True
    features, present = {}, {}
    for index, (name, shape) in enumerate(SHAPES.items()):
        x = hidden @ torch.randn(3, SIZES[name], generator=fixed) + 2.0
        x = x + 0.1 * torch.randn(x.shape, generator=numbers)
        pooled, *levels = x.split([shape.pooled, *shape.levels], 1)
        features[name] = Features(pooled[:, None], torch.ones(count, 1) > 0, pooled, tuple(levels))
        present[name] = here[:, index]
    return Encoded(features, present, torch.zeros(count))


def side_by_side(given: Encoded) -> Array:
    """Return ``(N, 15)``, NaN where absent."""
    found = []
    for name in SHAPES:
        each = given.features[name]
        x = torch.cat([each.pooled, *each.levels], 1)
        found.append(x.masked_fill(~given.present[name][:, None], torch.nan))
    return torch.cat(found, 1).double().numpy()


def imputed(treatment: Imputing, given: Encoded) -> Array:
    features, present = treatment(given.features, given.present)
    assert all(here.all() for here in present.values())
    return side_by_side(Encoded(features, present, given.target))


def test_mean_is_scikit_learns() -> None:
    train, test = rows(N, 1), rows(20, 2)
    treatment = Mean(SHAPES)
    treatment.fit(train, 0)
    theirs = SimpleImputer().fit(side_by_side(train)).transform(side_by_side(test))
    np.testing.assert_allclose(imputed(treatment, test), theirs, atol=1e-6)


@pytest.mark.parametrize("n_neighbors", [1, 5, 30, 1000])
@pytest.mark.parametrize("chance", [0.6, 0.2, 0.0])
def test_knn_is_scikit_learns(n_neighbors: int, chance: float) -> None:
    train, test = rows(N, 1, chance), rows(40, 2, chance)
    treatment = KnnImputation(SHAPES, n_neighbors=n_neighbors)
    treatment.fit(train, 0)
    theirs = KNNImputer(n_neighbors=n_neighbors).fit(side_by_side(train))
    np.testing.assert_allclose(
        imputed(treatment, test), theirs.transform(side_by_side(test)), atol=1e-5
    )


def test_knn_keeps_small_distances_far_from_zero() -> None:
    def far(given: Encoded) -> Encoded:
        moved = {
            name: each.map(lambda x: x + 1000 if x.is_floating_point() else x)
            for name, each in given.features.items()
        }
        return Encoded(moved, given.present, given.target)

    train, test = far(rows(N, 1)), far(rows(40, 2))
    treatment = KnnImputation(SHAPES, n_neighbors=1)
    treatment.fit(train, 0)
    theirs = KNNImputer(n_neighbors=1).fit(side_by_side(train))
    np.testing.assert_allclose(
        imputed(treatment, test), theirs.transform(side_by_side(test)), atol=1e-3
    )


@pytest.mark.parametrize("n_neighbors", [1, 3, 5])
def test_knn_takes_the_first_of_donors_that_are_equally_near(n_neighbors: int) -> None:
    count = 40
    texts = torch.eye(4)[torch.arange(count) % 4, :3]  # whole numbers: distances are exact
    numbers = torch.arange(count, dtype=torch.float32)[:, None].expand(count, 3)
    x = {"a": texts, "b": numbers}
    features = {
        name: Features(each[:, None], torch.ones(count, 1) > 0, each) for name, each in x.items()
    }
    here = torch.ones(count, dtype=torch.bool)
    treatment = KnnImputation({"a": Shape(3), "b": Shape(3)}, n_neighbors=n_neighbors, rows=count)
    treatment.fit(Encoded(features, {"a": here, "b": here}, torch.zeros(count)), 0)
    treated, _ = treatment(features, {"a": here, "b": ~here})
    for row, text in enumerate(texts):
        order = sorted(
            range(count),
            key=lambda place: (float((treatment.donors[place, :3] - text).square().sum()), place),
        )
        mean = treatment.donors[order[:n_neighbors], 3:].mean(0)
        torch.testing.assert_close(treated["b"].pooled[row], mean)


def test_knn_draws_the_rows_that_it_chooses_from() -> None:
    train, everything = rows(N, 1), side_by_side(rows(N, 1))
    drawn = []
    for seed in (0, 0, 1):
        treatment = KnnImputation(SHAPES, rows=20)
        treatment.fit(train, seed)
        bank = torch.cat([treatment.donors, treatment.has.float()], 1).double().numpy()
        expected = np.concatenate(
            [np.nan_to_num(everything), np.stack([train.present[n] for n in SHAPES], 1)], 1
        )
        found = [int(np.flatnonzero(np.isclose(expected, row).all(1))[0]) for row in bank]
        assert len(set(found)) == 20
        drawn.append(found)
        theirs = KNNImputer().fit(everything[found])
        test = rows(20, 2)
        np.testing.assert_allclose(
            imputed(treatment, test), theirs.transform(side_by_side(test)), atol=1e-5
        )
    assert drawn[0] == drawn[1]
    assert sorted(drawn[0]) != sorted(drawn[2])


@pytest.mark.parametrize("seed", range(5))
def test_knn_draws_a_row_of_every_modality(seed: int) -> None:
    train = rows(N, 1)
    rare = {**train.present, "b": torch.arange(N) == 17, "c": torch.arange(N) == 42}
    treatment = KnnImputation(SHAPES, rows=3)
    treatment.fit(Encoded(train.features, rare, train.target), seed)
    imputed(treatment, rows(9, 2))


def test_knn_fills_in_only_what_a_drawn_row_has() -> None:
    train = rows(N, 1, chance=0.0)  # one modality a row
    treatment = KnnImputation(SHAPES, rows=1)
    treatment.fit(train, 0)
    test = rows(9, 2, chance=0.0)
    _, present = treatment(test.features, test.present)
    drawn = [name for name, here in present.items() if here.all()]
    assert len(drawn) == 1
    assert all(torch.equal(present[n], test.present[n]) for n in SHAPES if n not in drawn)


def others(given: Encoded, name: str, scaling: Encoded) -> Array:
    """Return the other modalities standardised, zeros where absent, then their presence."""
    x, reference = side_by_side(given), side_by_side(scaling)
    z = np.nan_to_num((x - np.nanmean(reference, 0)) / np.nanstd(reference, 0))
    sizes, start, kept = SIZES, 0, []
    for other, size in sizes.items():
        if other != name:
            kept.append(z[:, start : start + size])
        start += size
    flags = [given.present[other].double().numpy()[:, None] for other in SHAPES if other != name]
    return np.concatenate([*kept, *flags], 1)


@pytest.mark.parametrize("alpha", [1.0, 30.0])
def test_generate_is_scikit_learns_ridge(alpha: float) -> None:
    train, test = rows(N, 1), rows(20, 2)
    treatment = Generate(SHAPES, alpha=alpha, drop=0)
    treatment.fit(train, 0)
    ours, expected = imputed(treatment, test), side_by_side(test)
    start = 0
    for name, size in SIZES.items():
        part, having = slice(start, start + size), train.present[name].numpy()
        ridge = Ridge(alpha).fit(
            others(train, name, train)[having], side_by_side(train)[having, part]
        )
        away = ~test.present[name].numpy()
        expected[away, part] = ridge.predict(others(test, name, train)[away])
        start += size
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def hidden_error(treatment: Imputing, test: Encoded, lacking: tuple[str, ...]) -> float:
    """Return the mean square of what is imputed less what was there."""
    whole = {name: torch.ones_like(here) for name, here in test.present.items()}
    partly = {name: torch.full_like(here, name not in lacking) for name, here in whole.items()}
    truth = side_by_side(Encoded(test.features, whole, test.target))
    return float(
        np.square(imputed(treatment, Encoded(test.features, partly, test.target)) - truth).mean()
    )


def test_generate_uses_what_the_others_tell() -> None:
    train, test = rows(200, 1), rows(100, 2)
    mean, generate = Mean(SHAPES), Generate(SHAPES)
    for treatment in (mean, generate):
        treatment.fit(train, 0)
    for lacking in (("a",), ("b",), ("a", "c")):
        assert hidden_error(generate, test, lacking) < 0.3 * hidden_error(mean, test, lacking)


def test_generate_copes_with_several_missing_by_dropping() -> None:
    train, test = rows(300, 1, chance=1.0), rows(100, 2)
    errors = []
    for drop in (0.0, 0.5):
        treatment = Generate(SHAPES, drop=drop)
        treatment.fit(train, 0)
        errors.append(hidden_error(treatment, test, ("a", "c")))
    assert errors[1] < 0.7 * errors[0]


def test_generate_learns_from_no_more_rows_than_it_may() -> None:
    train = rows(N, 1)
    states = []
    for seed, count in ((0, N), (1, N), (0, 30), (1, 30)):
        treatment = Generate(SHAPES, drop=0, rows=count)
        treatment.fit(train, seed)
        states.append(treatment.state_dict()["regressions.a.weight"])
    torch.testing.assert_close(states[0], states[1])
    assert not torch.allclose(states[2], states[3])
    assert not torch.allclose(states[0], states[2])


def test_generate_ignores_numbers_that_hardly_vary() -> None:
    train, test = rows(N, 1), rows(20, 2)
    for given, size in ((train, 1e-9), (test, 1.0)):
        given.features["a"].pooled[:, 0] = size * torch.randn(len(given))
    treatment = Generate(SHAPES)
    treatment.fit(train, 0)
    assert np.abs(imputed(treatment, test)).max() < 30


@pytest.mark.parametrize("kind", [Mean, KnnImputation, Generate])
def test_a_single_modality_gets_its_mean(kind: type[Imputing]) -> None:
    x = torch.randn(9, 4)
    present = torch.arange(9) % 2 == 0
    treatment = kind({"a": Shape(4)})
    features = Features(x[:, None], torch.ones(9, 1) > 0, x)
    treatment.fit(Encoded({"a": features}, {"a": present}, torch.zeros(9)), 0)
    treated, _ = treatment({"a": features}, {"a": present})
    expected: Tensor = x[present].mean(0)
    torch.testing.assert_close(treated["a"].pooled[~present], expected.expand(4, 4))
