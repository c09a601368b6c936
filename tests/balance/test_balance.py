"""What training does about rare classes: each treatment against its own words, written again."""

from __future__ import annotations

import math
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from mmx.balance import Balance
from mmx.balance.base import interpolate
from mmx.balance.mixup import Mixup
from mmx.balance.resample import Resample, balance_rows
from mmx.balance.smote_features import SmoteFeatures, mean_squared_distance
from mmx.balance.weights import Weights
from mmx.modalities import Features
from mmx.objectives.cross_entropy import CrossEntropy
from mmx.objectives.mean_squared_error import MeanSquaredError

WIDTHS = {"text": 3, "image": 2, "audio": 4}  # unsorted on purpose
ALL = [Mixup(), Resample(), SmoteFeatures(), Weights()]
Sample = tuple[dict[str, Features], dict[str, Tensor]]


def sample(rows: int, chance: float = 0.7, dtype: torch.dtype = torch.float64) -> Sample:
    """Return random features, NaN where a row lacks the modality and in padding tokens."""
    features, present = {}, {}
    for name, width in WIDTHS.items():
        here = torch.rand(rows) < chance
        mask = (torch.arange(5) < torch.randint(1, 6, (rows, 1))) & here[:, None]
        tokens = torch.randn(rows, 5, width, dtype=dtype).masked_fill(~mask[:, :, None], math.nan)
        pooled = torch.randn(rows, width, dtype=dtype).masked_fill(~here[:, None], math.nan)
        levels = tuple(
            torch.randn(rows, size, dtype=dtype).masked_fill(~here[:, None], math.nan)
            for size in (2, 5)
        )
        features[name] = Features(tokens, mask, pooled, levels)
        present[name] = here
    return features, present


def reversed_dicts(features: dict[str, Features], present: dict[str, Tensor]) -> Sample:
    return dict(reversed(features.items())), dict(reversed(present.items()))


def same(one: dict[str, Features], other: dict[str, Features]) -> None:
    for name, each in one.items():
        theirs = other[name]
        assert torch.equal(each.mask, theirs.mask)
        for x, y in zip(parts(each), parts(theirs), strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)


def parts(features: Features) -> list[Tensor]:
    return [features.tokens, features.pooled, *features.levels]


# --- what every treatment leaves alone


@pytest.mark.parametrize("balance", [Balance(), Resample(), Weights()])
def test_features_and_targets_stay_where_nothing_is_mixed(balance: Balance) -> None:
    features, present = sample(6)
    target = torch.arange(6)
    before = torch.get_rng_state()
    mixed = balance.mix(features, present, target, torch.ones(6))
    assert mixed.features is features
    assert mixed.target is target
    assert mixed.other is None
    assert mixed.share == 1.0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("balance", [Balance(), Mixup(), Weights()])
def test_an_epochs_rows_stay_where_nothing_is_drawn(balance: Balance) -> None:
    rows, generator = np.arange(5, 9), np.random.default_rng(0)
    assert balance.draw(rows, np.array([0, 0, 0, 1]), generator) is rows


@pytest.mark.parametrize("balance", [Balance(), Mixup(), Resample(), SmoteFeatures()])
def test_the_objective_stays_where_nothing_is_weighed(balance: Balance) -> None:
    objective = MeanSquaredError()
    assert balance.objective(objective) is objective


@pytest.mark.parametrize("balance", ALL)
def test_balance_is_for_classes(balance: Balance) -> None:
    assert balance.kinds == {"classes"}


# --- objectives


def loss(objective: Any, target: Tensor, outputs: Tensor) -> float:
    return float(objective.bind(target, 3, {}).task_loss(outputs, target))


def test_weights_count_each_class_by_the_inverse_of_its_rows() -> None:
    torch.manual_seed(0)
    target, outputs = torch.tensor([0, 0, 0, 0, 1, 2, 2]), torch.randn(7, 3).double()
    given = CrossEntropy()
    weighed = Weights().objective(given)
    weights = [7 / (3 * count) for count in (4, 1, 2)]
    p = outputs.softmax(1)
    terms = [-weights[y] * math.log(p[i, y]) for i, y in enumerate(target.tolist())]
    expected = sum(terms) / sum(weights[y] for y in target.tolist())
    assert loss(weighed, target, outputs) == pytest.approx(expected)
    assert loss(given, target, outputs) != pytest.approx(expected)  # it is left as it was


def test_weights_refuse_an_objective_without_classes() -> None:
    with pytest.raises(ValueError, match=r"^mean_squared_error has no class weights; "):
        Weights().objective(MeanSquaredError())


# --- interpolate


def naive(features: dict[str, Features], present: dict[str, Tensor], partner: Any, share: Any):
    """Mix row by row, number by number."""
    found = {}
    for name, own in features.items():
        copies = own.map(torch.clone)
        for i, (j, keep) in enumerate(zip(partner.tolist(), share.tolist(), strict=True)):
            if not (present[name][i] and present[name][j]):
                continue
            for x, y in [(copies.pooled, own.pooled), *zip(copies.levels, own.levels, strict=True)]:
                for d in range(x.shape[1]):
                    x[i, d] = keep * float(y[i, d]) + (1 - keep) * float(y[j, d])
            for t in range(own.tokens.shape[1]):
                if own.mask[i, t] and own.mask[j, t]:
                    copies.tokens[i, t] = keep * own.tokens[i, t] + (1 - keep) * own.tokens[j, t]
        found[name] = copies
    return found


@pytest.mark.parametrize("seed", range(5))
def test_interpolation_is_what_loops_say(seed: int) -> None:
    torch.manual_seed(seed)
    features, present = sample(13)
    partner = torch.randint(13, (13,))
    share = torch.rand(13, dtype=torch.float64)
    share[:2] = torch.tensor([0.0, 1.0])
    found = interpolate(features, present, partner, share)
    expected = naive(features, present, partner, share)
    changed = 0
    for name, each in expected.items():
        assert torch.equal(found[name].mask, features[name].mask)
        for x, y, was in zip(parts(found[name]), parts(each), parts(features[name]), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12, equal_nan=True)
            changed += int((x != was).logical_and(x.isfinite()).any())
    assert changed == 12  # every tensor of every modality


def test_a_token_that_one_row_lacks_stays() -> None:
    tokens = torch.tensor([[[1.0], [2.0], [3.0]], [[10.0], [20.0], [math.nan]]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    pooled = torch.tensor([[2.0], [10.0]])
    features = {"a": Features(tokens, mask, pooled)}
    present = {"a": torch.tensor([True, True])}
    found = interpolate(features, present, torch.tensor([1, 0]), torch.tensor([0.75, 0.5]))["a"]
    assert found.tokens[0, :, 0].tolist() == [0.75 * 1 + 0.25 * 10, 2.0, 3.0]
    assert found.tokens[1, :2, 0].tolist() == [0.5 * 10 + 0.5 * 1, 20.0]
    assert found.pooled[:, 0].tolist() == [0.75 * 2 + 0.25 * 10, 0.5 * 10 + 0.5 * 2]


def test_gradients_go_to_both_rows_and_are_finite_beside_nan() -> None:
    x = torch.tensor([[1.0], [5.0], [math.nan]], requires_grad=True)
    features = {"a": Features(x[:, None], torch.tensor([[True], [True], [False]]), x, (x,))}
    present = {"a": torch.tensor([True, True, False])}
    share = torch.tensor([0.75, 1.0, 0.5])
    found = interpolate(features, present, torch.tensor([1, 2, 0]), share)["a"]
    cotangent = torch.tensor([[1.0], [10.0], [0.0]])
    for each in (found.pooled, found.tokens[:, 0], found.levels[0]):
        (gradient,) = torch.autograd.grad(each, x, cotangent, retain_graph=True)
        assert gradient[:, 0].tolist() == [0.75, 10.25, 0.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_interpolation_keeps_the_dtype(dtype: torch.dtype) -> None:
    features, present = sample(4, 1.0, dtype)
    found = interpolate(features, present, torch.tensor([1, 0, 3, 2]), torch.rand(4))
    assert all(x.dtype == dtype for each in found.values() for x in parts(each))


# --- resample


@pytest.mark.parametrize("balance", [Resample(), SmoteFeatures()])
@pytest.mark.parametrize(
    "sizes", [[5, 5], [90, 9, 1], [7], [1, 1, 1], [40, 3, 0, 2], [33, 20, 11, 4, 1]]
)
def test_quotas(balance: Balance, sizes: list[int]) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.random.default_rng(1).permutation(labels)
    rows = np.random.default_rng(2).permutation(1000)[: len(labels)]
    class_of = dict(zip(rows.tolist(), labels.tolist(), strict=True))
    for epoch in range(5):
        drawn = balance.draw(rows, labels, np.random.default_rng(epoch))
        assert len(drawn) == len(rows)
        quotas = dict.fromkeys(set(labels.tolist()), 0)
        for row in drawn.tolist():
            quotas[class_of[row]] += 1
        assert max(quotas.values()) - min(quotas.values()) <= 1
        for label, quota in quotas.items():
            times = dict.fromkeys(rows[labels == label].tolist(), 0)
            for row in drawn.tolist():
                if row in times:
                    times[row] += 1
            # Every row comes before any comes again.
            assert set(times.values()) <= {quota // len(times), quota // len(times) + 1}


def test_which_class_has_one_more_and_which_rows_are_left_out_changes() -> None:
    labels = np.repeat([0, 1, 2], [12, 2, 2])
    rows = np.arange(100, 116)
    drawn = [balance_rows(rows, labels, np.random.default_rng(seed)) for seed in range(60)]
    largest = [int(np.bincount(labels[each - 100]).argmax()) for each in drawn]
    assert min(largest.count(label) for label in (0, 1, 2)) > 8
    of_the_first = [set(each[each < 112].tolist()) for each in drawn]
    assert set().union(*of_the_first) == set(range(100, 112))
    assert len({tuple(sorted(each)) for each in of_the_first}) > 40


def test_a_draw_depends_on_the_generator_alone() -> None:
    labels = np.repeat([3, 1], [30, 4])
    rows = np.arange(34)
    one, again, other = (balance_rows(rows, labels, np.random.default_rng(s)) for s in (7, 7, 8))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    assert np.array_equal(balance_rows(rows, labels, np.random.default_rng(7)), one)


# --- mixup


def mixed_pairs(rows: int, alpha: float, chance: float = 1.0):
    """Mix rows whose class is their number, and return what came of it."""
    features, present = sample(rows, chance)
    mixed = Mixup(alpha=alpha).mix(features, present, torch.arange(rows), torch.ones(rows))
    assert mixed.other is not None
    return features, present, mixed


def test_mixup_pairs_each_row_with_that_of_the_other_label() -> None:
    torch.manual_seed(3)
    features, present, mixed = mixed_pairs(12, 1.0)
    assert mixed.target.tolist() == list(range(12))
    assert sorted(mixed.other.tolist()) == list(range(12))
    assert 0 < mixed.share < 1
    shares = torch.full((12,), mixed.share, dtype=torch.float64)
    expected = naive(features, present, mixed.other, shares)
    for name, each in expected.items():
        for x, y in zip(parts(mixed.features[name]), parts(each), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-6, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 4.0])
def test_the_share_is_of_a_beta_distribution(alpha: float) -> None:
    torch.manual_seed(0)
    name, *_ = every = sample(2)[0]  # one modality: the share is drawn before any is mixed
    features, present = {name: every[name]}, {name: torch.ones(2) > 0}
    target, counts = torch.tensor([0, 1]), torch.tensor([1, 1])
    shares = torch.tensor(
        [Mixup(alpha=alpha).mix(features, present, target, counts).share for _ in range(3000)]
    )
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=0.01)
    assert ((shares >= 0) & (shares <= 1)).all()


def test_every_partner_is_as_likely() -> None:
    torch.manual_seed(0)
    partners = torch.stack([mixed_pairs(4, 1.0)[2].other for _ in range(800)])
    for row in range(4):
        counts = torch.bincount(partners[:, row], minlength=4) / 800
        assert counts.tolist() == pytest.approx([0.25] * 4, abs=0.06)


def test_a_row_that_meets_nothing_keeps_its_label() -> None:
    torch.manual_seed(5)
    alone = 0
    for _ in range(20):
        features, present, mixed = mixed_pairs(9, 1.0, chance=0.4)
        for i, j in enumerate(mixed.other.tolist()):
            changed = any(
                not torch.allclose(x[i], was[i], equal_nan=True)
                for name in features
                for x, was in zip(parts(mixed.features[name]), parts(features[name]), strict=True)
            )
            meets = any(bool(here[i] and here[j]) for here in present.values())
            assert changed == (j != i)
            assert meets or j == i
            alone += j == i
    assert alone > 20


def test_mixup_draws_from_the_global_generator_in_no_order_of_dicts() -> None:
    features, present = sample(7)
    target, found = torch.arange(7), []
    for given in ((features, present), reversed_dicts(features, present)):
        torch.manual_seed(1)
        found.append(Mixup().mix(*given, target, torch.ones(7)))
    assert found[0].share == found[1].share
    assert torch.equal(found[0].other, found[1].other)
    same(found[0].features, found[1].features)
    assert Mixup().mix(features, present, target, torch.ones(7)).share != found[0].share


def test_alpha_is_no_smaller_than_single_precision_can_tell() -> None:
    hint = TypeAdapter(get_type_hints(Mixup.__init__, include_extras=True)["alpha"])
    assert hint.validate_python(0.01) == 0.01
    with pytest.raises(ValidationError):
        hint.validate_python(0.001)


# --- smote


def test_distance_is_a_mean_over_the_features_that_both_rows_have() -> None:
    torch.manual_seed(0)
    features, present = sample(17, 0.5)
    found = mean_squared_distance(features, present)
    infinite = 0
    for i in range(17):
        for j in range(17):
            squares = [
                (float(a) - float(b)) ** 2
                for name in features
                if present[name][i] and present[name][j]
                for a, b in zip(features[name].pooled[i], features[name].pooled[j], strict=True)
            ]
            expected = sum(squares) / len(squares) if squares else math.inf
            assert float(found[i, j]) == pytest.approx(expected, rel=1e-5)
            infinite += not squares
    assert infinite > 20
    backwards = mean_squared_distance(*reversed_dicts(features, present))
    assert torch.equal(backwards, found)


def test_copies_are_at_no_distance_however_far_from_zero() -> None:
    torch.manual_seed(0)
    x = (torch.randn(40, 30) + 300).repeat(2, 1)
    features = {"a": Features(x[:, None], torch.ones(80, 1) > 0, x)}
    found = mean_squared_distance(features, {"a": torch.ones(80) > 0})
    assert (found.diagonal(40) == 0).all()
    exact = (x[:40, None].double() - x[None, :40].double()).square().mean(2)
    torch.testing.assert_close(found[:40, :40].double(), exact, rtol=1e-4, atol=1e-4)


def test_there_must_be_features() -> None:
    with pytest.raises(ValueError, match=r"^there are no features to measure a distance by$"):
        mean_squared_distance({}, {})


def nearest(
    features: dict[str, Features], present: dict[str, Tensor], target: Tensor, i: int, k: int
) -> list[int]:
    """Return the k nearest rows of row i's class that share a modality with it."""
    distances = []
    for j in range(len(target)):
        shared = [name for name in features if present[name][i] and present[name][j]]
        if j == i or target[j] != target[i] or not shared:
            continue
        gaps = torch.cat([features[n].pooled[i] - features[n].pooled[j] for n in shared])
        distances.append((float(gaps.square().mean()), j))
    return [j for _, j in sorted(distances)[:k]]


def along(
    before: dict[str, Features], after: dict[str, Features], present: Any, i: int, j: int
) -> float | None:
    """Return u where row i has moved by u towards row j, in all that it is made of; else None."""
    found: list[float] = []
    for name, own in before.items():
        new = after[name]
        both = bool(present[name][i] and present[name][j])
        pairs = [
            (x[i], y[i], x[j], both)
            for x, y in [(own.pooled, new.pooled), *zip(own.levels, new.levels, strict=True)]
        ]
        pairs += [
            (own.tokens[i, t], new.tokens[i, t], own.tokens[j, t], bool(m[i, t] and m[j, t]))
            for m in [own.mask]
            for t in range(own.tokens.shape[1])
        ]
        for x, y, other, mixed in pairs:
            if not mixed:
                if not torch.equal(x.nan_to_num(), y.nan_to_num()):
                    return None
                continue
            way = other - x
            u = float((y - x) @ way / (way @ way))
            if not torch.allclose(y, x + u * way, atol=1e-5):
                return None
            found.append(u)
    if not found or max(found) - min(found) > 1e-4:
        return None
    return found[0]


def moved(before: dict[str, Features], after: dict[str, Features]) -> Tensor:
    """Return ``(B,)`` bool, whether anything of a row has changed."""
    return torch.stack(
        [
            (x.nan_to_num() != y.nan_to_num()).flatten(1).any(1)
            for name in before
            for x, y in zip(parts(before[name]), parts(after[name]), strict=True)
        ]
    ).any(0)


@pytest.mark.parametrize("k", [1, 3, 100])
def test_a_moved_row_lies_between_it_and_a_near_row_of_its_class(k: int) -> None:
    torch.manual_seed(k)
    counts = torch.tensor([300, 30, 5, 0])
    several: set[int] = set()
    seen = 0
    for _ in range(6):
        features, present = sample(30)
        target = torch.randint(3, (30,))
        mixed = SmoteFeatures(neighbors=k).mix(features, present, target, counts)
        assert mixed.target is target
        assert mixed.other is None
        for name in features:
            assert torch.equal(mixed.features[name].mask, features[name].mask)
        for i in moved(features, mixed.features).nonzero()[:, 0].tolist():
            assert target[i] != 0  # 300 rows are more than a class's share of 335 / 3
            near = nearest(features, present, target, i, k)
            ways = {j: along(features, mixed.features, present, i, j) for j in near}
            chosen = [j for j, u in ways.items() if u is not None and 0 <= u <= 1]
            assert len(chosen) == 1, (i, ways)
            several.add(near.index(chosen[0]))
            seen += 1
    assert seen > 60
    assert several == {0} if k == 1 else len(several) >= 3


def test_neighbours_and_steps_are_drawn_evenly() -> None:
    torch.manual_seed(0)
    x = torch.tensor([[0.0, 0], [1, 0], [0, 2], [3, 3], [100, 50]])
    features = {"a": Features(x[:, None], torch.ones(5, 1) > 0, x)}
    present, target = {"a": torch.ones(5) > 0}, torch.zeros(5, dtype=torch.int64)
    counts = torch.tensor([1, 10**9])
    partners, steps = [], []
    for _ in range(1500):
        y = SmoteFeatures(neighbors=3).mix(features, present, target, counts)
        ways = {j: along(features, y.features, present, 0, j) for j in range(1, 5)}
        (found,) = [(j, u) for j, u in ways.items() if u is not None]
        partners.append(found[0])
        steps.append(found[1])
    shares = torch.bincount(torch.tensor(partners), minlength=5) / 1500
    assert shares.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0], abs=0.04)
    found = torch.histc(torch.tensor(steps), 5, 0, 1) / 1500
    assert found.tolist() == pytest.approx([0.2] * 5, abs=0.04)


def test_a_row_is_moved_with_the_chance_that_it_is_a_repetition() -> None:
    torch.manual_seed(0)
    counts = torch.tensor([250, 40, 10, 100, 0])  # 4 classes occur: a share of 100 each
    target = torch.arange(4).repeat_interleave(500)
    x = torch.randn(2000, 2)
    features = {"a": Features(x[:, None], torch.ones(2000, 1) > 0, x)}
    present = {"a": torch.ones(2000) > 0}
    found = torch.stack(
        [
            moved(features, SmoteFeatures().mix(features, present, target, counts).features)
            for _ in range(4)
        ]
    )
    shares = found.float().view(4, 4, 500).mean((0, 2)).tolist()
    assert shares[0] == shares[3] == 0  # a class of its share or more is never moved
    assert shares[1:3] == pytest.approx([0.6, 0.9], abs=0.04)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_row_without_a_neighbour_stays(rows: int) -> None:
    features, present = sample(rows, 1.0)
    target = torch.arange(rows)
    counts = torch.tensor([1] * rows + [1000])
    for _ in range(20):
        same(SmoteFeatures().mix(features, present, target, counts).features, features)


def test_a_row_that_shares_no_modality_with_its_class_stays() -> None:
    x = torch.randn(2, 3)
    mask = torch.tensor([[True], [False]])
    features = {
        "a": Features(x[:, None], mask, x.masked_fill(~mask, math.nan)),
        "b": Features(x[:, None], ~mask, x.masked_fill(mask, math.nan)),
    }
    present = {"a": mask[:, 0], "b": ~mask[:, 0]}
    counts = torch.tensor([2, 1000])
    for _ in range(20):
        after = SmoteFeatures().mix(features, present, torch.tensor([0, 0]), counts).features
        same(after, features)


def test_copies_of_a_row_are_no_neighbours_of_it() -> None:
    # A rare class is drawn again and again: without this, the nearest are the row itself.
    torch.manual_seed(0)
    x = torch.tensor([[0.0, 0.0]] * 6 + [[1.0, 1.0]] * 2 + [[50.0, 9.0]])
    features = {"a": Features(x[:, None], torch.ones(9, 1) > 0, x)}
    present, counts = {"a": torch.ones(9) > 0}, torch.tensor([2, 10**9])
    target = torch.tensor([0] * 8 + [1])
    for _ in range(20):
        after = SmoteFeatures(neighbors=2).mix(features, present, target, counts).features
        assert moved(features, after).tolist() == [True] * 8 + [False]
    only = torch.zeros(8, dtype=torch.int64)
    alike = {"a": Features(x[:1].repeat(8, 1, 1), torch.ones(8, 1) > 0, x[:1].repeat(8, 1))}
    here = {"a": torch.ones(8) > 0}
    same(SmoteFeatures().mix(alike, here, only, counts).features, alike)


def test_smote_draws_from_the_global_generator_in_no_order_of_dicts() -> None:
    torch.manual_seed(0)
    features, present = sample(20)
    target, counts, found = torch.randint(2, (20,)), torch.tensor([3, 300]), []
    for given in ((features, present), reversed_dicts(features, present)):
        torch.manual_seed(1)
        found.append(SmoteFeatures().mix(*given, target, counts).features)
    same(found[0], found[1])
    other = SmoteFeatures().mix(features, present, target, counts).features
    assert moved(found[0], other).any()


def test_smote_lets_gradients_through_to_both_rows() -> None:
    torch.manual_seed(0)
    features, present = sample(20)
    leaves = [x.requires_grad_() for each in features.values() for x in parts(each)]
    counts = torch.tensor([3, 300])
    target = torch.zeros(20, dtype=torch.int64)
    after = SmoteFeatures().mix(features, present, target, counts).features
    cotangents = []
    for name, each in after.items():
        for x in parts(each):
            valid = present[name].view(-1, *[1] * (x.dim() - 1)) & x.isfinite()
            cotangents.append(valid.to(x.dtype))
    outputs = [x for each in after.values() for x in parts(each)]
    gradients = torch.autograd.grad(outputs, leaves, cotangents)
    assert all(gradient.isfinite().all() for gradient in gradients)
    # What a moved row gives up of itself, its neighbour gets: rows, not weight, are unequal.
    total = sum(float(gradient.sum()) for gradient in gradients)
    assert total == pytest.approx(sum(float(each.sum()) for each in cotangents))
    assert any(gradient.unique().numel() > 5 for gradient in gradients)
