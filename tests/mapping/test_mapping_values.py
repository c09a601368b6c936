"""Each mapping against scikit-learn or its definition, computed a second time another way."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import scipy.linalg
import torch
from refusals import check_error, check_notes
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from mmx.errors import DataError, TrainingError
from mmx.mapping.canonical import find_canonical
from mmx.mapping.cca import Cca
from mmx.mapping.deep_cca import DeepCca, _batches, total_correlation
from mmx.mapping.lda import Lda
from mmx.mapping.linear import Linear
from mmx.mapping.pca import Pca
from mmx.modalities import Encoded, Features

N = 80
Array = npt.NDArray[np.float64]


@pytest.fixture
def numbers() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def features(x: Tensor) -> Features:
    return Features(x[:, None], torch.ones(len(x), 1) > 0, x)


def encoded(
    x: dict[str, Tensor], present: dict[str, Tensor] | None = None, target: Tensor | None = None
) -> Encoded:
    rows = len(next(iter(x.values())))
    everywhere = {name: torch.ones(rows) > 0 for name in x}
    return Encoded(
        {name: features(each) for name, each in x.items()},
        everywhere if present is None else present,
        torch.arange(rows) % 3 if target is None else target,
    )


def related(numbers: torch.Generator, *widths: int, rows: int = N) -> dict[str, Tensor]:
    """Return modalities a, b, … that share three hidden numbers, each the less the later."""
    hidden = torch.randn(rows, 3, generator=numbers)
    noise = torch.tensor([0.2, 0.5, 1.0])
    made = {}
    for name, width in zip("abcd", widths, strict=False):
        own = hidden + noise * torch.randn(rows, 3, generator=numbers)
        mixed = torch.cat([own, torch.randn(rows, width - 3, generator=numbers)], 1)
        made[name] = mixed @ torch.randn(width, width, generator=numbers) + 3.0
    return made


def mapped(mapping: torch.nn.Module, train: Encoded) -> dict[str, Array]:
    result = mapping(train.features, train.present)
    return {name: each.pooled.double().numpy() for name, each in result.items()}


def same_up_to_sign(ours: Array, theirs: Array, tolerance: float = 1e-4) -> None:
    """Compare columns; which way a direction points is nobody's choice."""
    assert ours.shape == theirs.shape
    signs = np.sign((ours * theirs).sum(0))
    np.testing.assert_allclose(ours, theirs * signs, atol=tolerance * np.abs(theirs).max())


# ---------------------------------------------------------------- linear


def test_linear_is_an_affine_map_for_each_modality(numbers: torch.Generator) -> None:
    x = related(numbers, 5, 4)
    mapping = Linear({"a": 5, "b": 4}, width=3)
    weights = dict(mapping.named_parameters())
    for name, ours in mapping(encoded(x).features, encoded(x).present).items():
        expected = x[name] @ weights[f"maps.{name}.weight"].T + weights[f"maps.{name}.bias"]
        torch.testing.assert_close(ours.pooled, expected)


# ---------------------------------------------------------------- pca


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("rows", [N, 12])
def test_pca_is_scikit_learns(numbers: torch.Generator, whiten: bool, rows: int) -> None:
    x = related(numbers, 20, 6, rows=rows)
    mapping = Pca({"a": 20, "b": 6}, width=8, whiten=whiten)
    assert mapping.widths == {"a": 8, "b": 6}
    assert mapping.fit(encoded(x), 0) == ()
    other = related(numbers, 20, 6, rows=7)
    for name, ours in mapped(mapping, encoded(other)).items():
        pca = PCA(mapping.widths[name], whiten=whiten, svd_solver="full").fit(x[name].double())
        same_up_to_sign(ours, pca.transform(other[name].double()))


def test_pca_of_few_rows_says_what_is_zero(numbers: torch.Generator) -> None:
    x = related(numbers, 20, 6, rows=5)
    mapping = Pca({"a": 20, "b": 6}, width=8, whiten=True)
    mapping.fit(encoded(related(numbers, 20, 6)), 0)  # forgotten
    check_notes(mapping.fit(encoded(x), 0), ("a", "4", "8 dimensions"), ("b", "4", "6 dimensions"))
    for ours in mapped(mapping, encoded(x)).values():
        np.testing.assert_allclose(ours[:, :4].std(0, ddof=1), 1, rtol=1e-4)
        assert (ours[:, 4:] == 0).all()


def test_pca_does_not_whiten_rounding(numbers: torch.Generator) -> None:
    flat = torch.randn(N, 3, generator=numbers) @ torch.randn(3, 10, generator=numbers)  # rank 3
    mapping = Pca({"a": 10}, width=10, whiten=True)
    check_notes(mapping.fit(encoded({"a": flat}), 0), ("a", "3", "10 dimensions"))
    assert np.abs(mapped(mapping, encoded({"a": flat}))["a"]).max() < 10


# ---------------------------------------------------------------- lda


@pytest.mark.parametrize("shrinkage", ["auto", 0.0, 0.3])
def test_lda_is_scikit_learns(numbers: torch.Generator, shrinkage: float) -> None:
    target = torch.randint(4, (N,), generator=numbers)
    x = {name: each + target[:, None] ** 2 for name, each in related(numbers, 7, 4).items()}
    mapping = Lda({"a": 7, "b": 4}, width=3, shrinkage=shrinkage)
    assert mapping.fit(encoded(x, target=target), 0) == ()
    for name, ours in mapped(mapping, encoded(x)).items():
        lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage)
        theirs = lda.fit(x[name].double(), target).transform(x[name].double())
        same_up_to_sign(ours, theirs - theirs.mean(0))


def test_lda_without_shrinkage_is_the_classical_one(numbers: torch.Generator) -> None:
    target = torch.randint(3, (N,), generator=numbers)
    x = related(numbers, 5)["a"] + target[:, None]
    mapping = Lda({"a": 5}, width=2, shrinkage=0)
    mapping.fit(encoded({"a": x}, target=target), 0)
    theirs = LinearDiscriminantAnalysis(solver="svd").fit(x.double(), target).transform(x.double())
    ours = mapped(mapping, encoded({"a": x}))["a"]
    for k in range(2):  # alike but for scale: they count degrees of freedom otherwise
        assert abs(np.corrcoef(ours[:, k], theirs[:, k])[0, 1]) > 1 - 1e-6


def test_lda_has_fewer_dimensions_than_classes(numbers: torch.Generator) -> None:
    mapping = Lda({"a": 7, "b": 4}, width=64)
    assert mapping.widths == {"a": 7, "b": 4}
    check_notes(
        mapping.fit(encoded(related(numbers, 7, 4)), 0),
        ("a", "2", "7 dimensions"),
        ("b", "2", "4 dimensions"),
    )


def test_lda_leaves_out_classes_of_a_single_row(numbers: torch.Generator) -> None:
    x = related(numbers, 6)["a"]
    target = torch.arange(N) % 3
    with_one_more = torch.cat([target, torch.tensor([3])])
    outlier = torch.cat([x, torch.full((1, 6), 50.0)])
    one, other = Lda({"a": 6}, width=2), Lda({"a": 6}, width=2)
    one.fit(encoded({"a": x}, target=target), 0)
    other.fit(encoded({"a": outlier}, target=with_one_more), 0)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())


def test_lda_of_more_features_than_rows_holds_beyond_them(numbers: torch.Generator) -> None:
    def draw(rows: int) -> tuple[Tensor, Tensor]:
        target = torch.randint(2, (rows,), generator=numbers)
        x = torch.randn(rows, 200, generator=numbers)
        x[:, :40] += target[:, None] - 0.5
        return x, target

    x, target = draw(60)
    mapping = Lda({"a": 200}, width=1)
    mapping.fit(encoded({"a": x}, target=target), 0)
    fresh, truth = draw(500)
    value = torch.from_numpy(mapped(mapping, encoded({"a": fresh}))["a"][:, 0])
    agreement = ((value > 0) == (truth == 1)).double().mean()
    assert max(agreement, 1 - agreement) > 0.85


def test_lda_wants_two_classes_and_spread(numbers: torch.Generator) -> None:
    x = related(numbers, 5)
    with pytest.raises(DataError) as error:
        Lda({"a": 5}).fit(encoded(x, target=torch.zeros(N).long()), 0)
    check_error(error.value, "2 classes", "2 training", "1", "classes", "training")
    flat = {"a": torch.cat([x["a"], torch.ones(N, 1)], 1)}
    with pytest.raises(DataError) as error:
        Lda({"a": 6}, shrinkage=0).fit(encoded(flat), 0)
    check_error(error.value, "shrinkage=0", "classes")
    assert error.value.tip == "mapping.shrinkage=0.1"
    Lda({"a": 6}, shrinkage=0.1).fit(encoded(flat), 0)


# ---------------------------------------------------------------- cca


def naive_correlations(a: Array, b: Array, ridge: float) -> Array:
    """Return the roots of the eigenvalues of S_aa⁻¹ S_ab S_bb⁻¹ S_ba, falling."""
    a, b = a - a.mean(0), b - b.mean(0)
    s_aa, s_bb, s_ab = a.T @ a / len(a), b.T @ b / len(b), a.T @ b / len(a)
    s_aa = s_aa + ridge * np.trace(s_aa) / len(s_aa) * np.eye(len(s_aa))
    s_bb = s_bb + ridge * np.trace(s_bb) / len(s_bb) * np.eye(len(s_bb))
    squares = np.linalg.eigvals(np.linalg.solve(s_aa, s_ab) @ np.linalg.solve(s_bb, s_ab.T)).real
    return np.sqrt(np.sort(np.clip(squares, 0, None))[::-1])


def own_correlations(y: dict[str, Array], first: str = "a", second: str = "b") -> Array:
    """Return the correlation of each dimension of one modality with that of another."""
    pairs = zip(y[first].T, y[second].T, strict=True)
    return np.array([np.corrcoef(one, other)[0, 1] for one, other in pairs])


@pytest.mark.parametrize("ridge", [1e-3, 0.1])
@pytest.mark.parametrize("widths", [(6, 4), (4, 9), (5, 5)])
def test_canonical_correlations_are_those_of_the_definition(
    numbers: torch.Generator, widths: tuple[int, int], ridge: float
) -> None:
    x = {name: each.double() for name, each in related(numbers, *widths).items()}
    used = encoded(x).present
    found = find_canonical(x, used, width=64, ridge=ridge)
    expected = naive_correlations(x["a"].numpy(), x["b"].numpy(), ridge)[: min(widths)]
    np.testing.assert_allclose(found.correlations, expected, atol=1e-9)
    assert np.all(np.diff(expected) < 0)


def test_cca_projects_to_its_correlations(numbers: torch.Generator) -> None:
    x = related(numbers, 6, 4)
    mapping = Cca({"a": 6, "b": 4}, width=3, ridge=1e-9)
    (note,) = mapping.fit(encoded(x), 0)
    y = mapped(mapping, encoded(x))
    expected = naive_correlations(x["a"].double().numpy(), x["b"].double().numpy(), 0)[:3]
    np.testing.assert_allclose(own_correlations(y), expected, atol=1e-5)
    for each in y.values():  # uncorrelated, of variance 1
        np.testing.assert_allclose(np.cov(each.T, ddof=0), np.eye(3), atol=1e-3)
    cross = y["a"].T @ y["b"] / N
    np.testing.assert_allclose(cross, np.diag(expected), atol=1e-3)
    said = f"correlations of the training rows: {expected.sum():.2f} in total over 3 dimensions"
    assert note == said


def test_cca_is_scikit_learns_up_to_sign_and_scale(numbers: torch.Generator) -> None:
    x = related(numbers, 6, 4)
    mapping = Cca({"a": 6, "b": 4}, width=2, ridge=1e-9)
    mapping.fit(encoded(x), 0)
    ours = mapped(mapping, encoded(x))
    sk = CCA(2, max_iter=5000, tol=1e-12).fit(x["a"].double(), x["b"].double())
    for name, theirs in zip("ab", sk.transform(x["a"].double(), x["b"].double()), strict=True):
        same_up_to_sign(ours[name] / ours[name].std(0), theirs / theirs.std(0), 1e-3)


def test_cca_ignores_the_scale_of_a_modality(numbers: torch.Generator) -> None:
    x = related(numbers, 6, 4)
    one, other = Cca({"a": 6, "b": 4}, width=3), Cca({"a": 6, "b": 4}, width=3)
    scaled = {**x, "a": 1000 * x["a"]}
    assert one.fit(encoded(x), 0) == other.fit(encoded(scaled), 0)
    ours, theirs = mapped(one, encoded(x)), mapped(other, encoded(scaled))
    for name in x:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-2)


def naive_maxvar(x: dict[str, Array], ridge: float, width: int) -> tuple[Array, dict[str, Array]]:
    """Solve R a = λ D a with R all covariances, D those within; return λ and the variates.

    A row counts where it is not NaN.
    """
    centred = {name: each - np.nanmean(each, 0) for name, each in x.items()}
    whole = np.concatenate(list(centred.values()), 1)
    covariances = np.nanmean(whole[:, :, None] * whole[:, None], 0)
    within = np.zeros_like(covariances)
    start = 0
    for each in centred.values():
        part = slice(start, start + each.shape[1])
        own = covariances[part, part]
        own += ridge * np.trace(own) / len(own) * np.eye(len(own))
        within[part, part] = own
        start += each.shape[1]
    values, vectors = scipy.linalg.eigh(covariances, within)
    values, vectors = values[::-1][:width], vectors[:, ::-1][:, :width] * np.sqrt(len(x))
    bounds = np.cumsum([0, *(each.shape[1] for each in x.values())])
    parts = zip(centred.items(), pairwise(bounds), strict=True)
    return values, {name: each @ vectors[low:high] for (name, each), (low, high) in parts}


@pytest.mark.parametrize("widths", [(6, 4), (6, 4, 5), (4, 7, 5, 6)])
def test_cca_of_any_number_solves_the_maxvar_problem(
    numbers: torch.Generator, widths: tuple[int, ...]
) -> None:
    x = related(numbers, *widths, rows=200)
    mapping = Cca(dict(zip("abcd", widths, strict=False)), width=3, ridge=1e-2)
    (note,) = mapping.fit(encoded(x), 0)
    values, variates = naive_maxvar({n: e.double().numpy() for n, e in x.items()}, 1e-2, 3)
    total = ((values - 1) / (len(widths) - 1)).sum()
    assert note.startswith(f"correlations of the training rows: {total:.2f} in total over 3")
    for name, ours in mapped(mapping, encoded(x)).items():
        same_up_to_sign(ours, variates[name], 1e-3)


def test_cca_turns_all_modalities_together(numbers: torch.Generator) -> None:
    for widths in ((6, 4), (6, 4, 5)):
        x = related(numbers, *widths, rows=300)
        mapping = Cca(dict(zip("abc", widths, strict=False)), width=2)
        mapping.fit(encoded(x), 0)
        y = mapped(mapping, encoded(x))
        assert all((own_correlations(y, "a", other) > 0.5).all() for other in list(x)[1:])


def test_cca_learns_from_rows_that_have_both(numbers: torch.Generator) -> None:
    x = related(numbers, 6, 4)
    present = {"a": torch.arange(N) % 4 != 1, "b": torch.arange(N) % 5 != 2}
    both = present["a"] & present["b"]
    mapping, complete = Cca({"a": 6, "b": 4}), Cca({"a": 6, "b": 4})
    mapping.fit(encoded(x, present), 0)
    complete.fit(encoded({name: each[both] for name, each in x.items()}), 0)
    torch.testing.assert_close(mapping.state_dict(), complete.state_dict())


def test_cca_of_three_needs_no_row_that_has_all(numbers: torch.Generator) -> None:
    x = related(numbers, 6, 4, 5, rows=600)
    present = {name: torch.arange(600) % 3 != index for index, name in enumerate(x)}
    mapping = Cca({"a": 6, "b": 4, "c": 5}, width=1)
    mapping.fit(encoded(x, present), 0)
    fresh = related(torch.Generator().manual_seed(0), 6, 4, 5, rows=600)
    y = mapped(mapping, encoded(fresh))
    assert own_correlations(y, "a", "b")[0] > 0.9
    assert own_correlations(y, "b", "c")[0] > 0.9


def test_cca_of_three_takes_each_covariance_from_the_rows_that_have_it(
    numbers: torch.Generator,
) -> None:
    x = related(numbers, 6, 4, 5, rows=90)
    here = torch.rand(90, 3, generator=numbers) < torch.tensor([0.9, 0.7, 0.5])
    several = here.sum(1) >= 2
    mapping = Cca({"a": 6, "b": 4, "c": 5}, width=3, ridge=1e-2)
    mapping.fit(encoded(x, dict(zip("abc", here.T, strict=True))), 0)
    holes = {
        name: each.double().masked_fill(~(here[:, m] & several)[:, None], torch.nan).numpy()
        for m, (name, each) in enumerate(x.items())
    }
    _, variates = naive_maxvar(holes, 1e-2, 3)
    for name, ours in mapped(mapping, encoded(x)).items():
        there = ~np.isnan(holes[name][:, 0])
        same_up_to_sign(ours[there], variates[name][there], 1e-3)


def test_cca_of_pairs_that_never_meet(numbers: torch.Generator) -> None:
    x = related(numbers, 6, 4)
    present = {"a": torch.arange(N) % 2 == 0, "b": torch.arange(N) % 2 == 1}
    with pytest.raises(DataError) as error:
        Cca({"a": 6, "b": 4}).fit(encoded(x, present), 0)
    check_error(error.value, "0 training", "2", "mapping", "training")


def test_cca_leaves_out_what_is_not_shared(numbers: torch.Generator) -> None:
    x = related(numbers, 12, 9, rows=5)  # of rank 4
    mapping = Cca({"a": 12, "b": 9})
    assert mapping.widths == {"a": 9, "b": 9}
    _, *notes = mapping.fit(encoded(x), 0)
    check_notes(notes, ("a", "4", "9 dimensions"), ("b", "4", "9 dimensions"))
    assert all((each[:, 4:] == 0).all() for each in mapped(mapping, encoded(x)).values())


@pytest.mark.parametrize("kind", [Cca, DeepCca])
def test_a_single_modality_is_whitened(numbers: torch.Generator, kind: type[Cca]) -> None:
    x = related(numbers, 6)
    mapping = kind({"a": 6}, width=4)
    assert mapping.fit(encoded(x), 0) == ()
    theirs = PCA(4, whiten=True).fit_transform(x["a"].double())
    same_up_to_sign(mapped(mapping, encoded(x))["a"], theirs)


# ---------------------------------------------------------------- deep_cca


@pytest.mark.parametrize("ridge", [1e-3, 0.1])
def test_the_objective_is_the_sum_of_correlations(numbers: torch.Generator, ridge: float) -> None:
    x = {name: each.double() for name, each in related(numbers, 4, 5, 3).items()}
    here = {name: torch.rand(N, generator=numbers) < 0.8 for name in x}
    expected = 0.0
    for first, second in (("a", "b"), ("a", "c"), ("b", "c")):
        rows = here[first] & here[second]
        pair = (x[first][rows].numpy(), x[second][rows].numpy())
        expected += naive_correlations(*pair, ridge)[: min(p.shape[1] for p in pair)].sum()
    assert float(total_correlation(x, here, ridge)) == pytest.approx(expected, abs=1e-9)


def test_two_common_rows_correlate_and_one_does_not() -> None:
    x = {"a": torch.tensor([[1.0], [4.0], [9.0]]), "b": torch.tensor([[2.0], [-1.0], [5.0]])}
    here = {"a": torch.tensor([True, True, True]), "b": torch.tensor([True, True, False])}
    assert float(total_correlation(x, here, 0.25)) == pytest.approx(1 / 1.25)  # |ρ| = 1, shrunk
    here["a"][0] = False
    assert float(total_correlation(x, here, 0.25)) == 0.0


def test_the_objectives_gradient(numbers: torch.Generator) -> None:
    a = torch.randn(9, 3, generator=numbers).double().requires_grad_()
    b = torch.randn(9, 2, generator=numbers).double().requires_grad_()
    here = {"a": torch.arange(9) > 0, "b": torch.arange(9) < 8}
    assert torch.autograd.gradcheck(
        lambda a, b: total_correlation({"a": a, "b": b}, here, 0.01), (a, b)
    )


def angles(rows: int, seed: int) -> Encoded:
    """Return modalities that share an angle: one once around the circle, the other twice."""
    numbers, fixed = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(0)
    angle = 2 * torch.pi * torch.rand(rows, generator=numbers)
    x = {}
    for name, speed, width in (("a", 1, 8), ("b", 2, 6)):
        point = torch.stack([(speed * angle).cos(), (speed * angle).sin()], 1)
        clean = point @ torch.randn(2, width, generator=fixed)
        x[name] = clean + 0.1 * torch.randn(rows, width, generator=numbers)
    return encoded(x)


def test_deep_cca_finds_what_no_line_shows() -> None:
    train, test = angles(500, 1), angles(500, 2)
    linear = Cca({"a": 8, "b": 6}, width=2)
    deep = DeepCca({"a": 8, "b": 6}, width=2, hidden=32, lr=0.01, steps=100)
    linear.fit(train, 0)
    deep.fit(train, 0)
    assert np.abs(own_correlations(mapped(linear, test))).max() < 0.3
    assert own_correlations(mapped(deep, test)).min() > 0.9


def test_deep_cca_ends_in_the_closed_form(numbers: torch.Generator) -> None:
    train = encoded(related(numbers, 6, 5))
    mapping = DeepCca({"a": 6, "b": 5}, width=3, hidden=8, steps=3, ridge=1e-6)
    (note,) = mapping.fit(train, 0)
    y = mapped(mapping, train)
    for each in y.values():
        np.testing.assert_allclose(np.cov(each.T, ddof=0), np.eye(3), atol=1e-2)
    check_notes([note], (f"{own_correlations(y).sum():.2f}", "3 dimensions", "training", "rows"))


def test_deep_cca_trains_longer_with_more_steps(numbers: torch.Generator) -> None:
    train = angles(200, 1)
    totals = []
    for steps in (1, 30, 100):
        mapping = DeepCca({"a": 8, "b": 6}, width=2, hidden=16, lr=0.01, steps=steps)
        (note,) = mapping.fit(train, 0)
        totals.append(float(re.findall(r"[\d.]+", note)[0]))
    assert totals == sorted(totals)
    assert totals[2] > totals[0] + 0.2


def test_deep_cca_takes_three_modalities_and_small_batches(numbers: torch.Generator) -> None:
    x = related(numbers, 6, 4, 5, rows=61)
    present = {name: torch.arange(61) % 3 != index for index, name in enumerate(x)}
    mapping = DeepCca({"a": 6, "b": 4, "c": 5}, width=2, hidden=8, steps=40, batch_size=2)
    mapping.fit(encoded(x, present), 0)  # most pairs are never in one batch
    assert all(np.isfinite(each).all() for each in mapped(mapping, encoded(x)).values())


def test_deep_cca_survives_what_does_not_vary() -> None:
    x = {"a": torch.zeros(40, 3), "b": torch.randn(40, 3)}
    x["a"][0, 0] = 1.0  # a batch without this row is constant
    mapping = DeepCca({"a": 3, "b": 3}, width=2, hidden=8, steps=20, batch_size=10)
    mapping.fit(encoded(x), 0)
    assert all(np.isfinite(each).all() for each in mapped(mapping, encoded(x)).values())


def test_deep_cca_says_that_it_diverged(numbers: torch.Generator) -> None:
    mapping = DeepCca({"a": 6, "b": 4}, width=2, hidden=8, lr=1e30)
    with pytest.raises(TrainingError) as error:
        mapping.fit(encoded(related(numbers, 6, 4)), 0)
    check_error(error.value, "deep_cca", "1e+30")
    assert error.value.tip == "mapping.lr=1e+29"


def test_every_row_comes_once_a_round(numbers: torch.Generator) -> None:
    rows = torch.tensor([3, 5, 6, 7, 8, 9, 11])
    batches = _batches(rows, 3, numbers)
    first, second = ([next(batches) for _ in range(3)] for _ in range(2))
    assert [len(batch) for batch in first] == [3, 2, 2]
    for batches_of_round in (first, second):
        assert torch.cat(batches_of_round).sort().values.equal(rows)
    assert not torch.cat(first).equal(torch.cat(second))
