"""The spread over seeds, weighed over groups: how often its intervals hold the truth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from mmx.evaluation.gain_intervals import Differences, GainInterval, find_half_width
from mmx.evaluation.pooling import ALIKE, IN_COMMON, PRIOR, SPREADS, SeedError, estimate_seed_errors
from mmx.evaluation.power import SeedsNeeded, count_seeds_needed

Array = npt.NDArray[np.float64]


def test_of_one_group_it_is_students_own() -> None:
    values = np.array([0.1, 0.4, 0.3])
    (found,) = estimate_seed_errors([values])
    places = np.array([0.0, 0.1, 0.5])
    wanted = 2 * stats.t.cdf(places / (values.std(ddof=1) / np.sqrt(3)), 2) - 1
    assert found.within(places) == pytest.approx(wanted)


def test_a_mixture_of_one_weight_is_a_moderated_t() -> None:
    """Of the term with d_0 = 4 alone: (4 s_0² + 2 s²) / 6 with 6 degrees of freedom."""
    found = SeedError(np.ones(1), np.array([(4 * 0.5 + 2 * 0.2) / 6]), np.array([6.0]), 3)
    assert find_half_width(found, 0.0, 0.95) == pytest.approx(
        stats.t.ppf(0.975, 6) * np.sqrt(0.4 / 3), rel=1e-6
    )


def test_many_groups_of_one_spread_agree_on_it() -> None:
    random = np.random.default_rng(0)
    groups = list(random.normal(size=(60, 3)))
    pooled = np.sqrt(np.mean([each.var(ddof=1) for each in groups]))
    widths = [find_half_width(each, 0.0, 0.95) for each in estimate_seed_errors(groups)]
    wanted = stats.t.ppf(0.975, 120) * pooled / np.sqrt(3)
    assert np.median(widths) == pytest.approx(wanted, rel=0.06)
    assert max(widths) < 1.5 * wanted < 1.5 * stats.t.ppf(0.975, 2) * pooled / np.sqrt(3)


def test_groups_of_very_other_spreads_keep_their_own() -> None:
    random = np.random.default_rng(1)
    scales = np.repeat([0.01, 1.0], 10)[:, None]
    groups = list(scales * random.normal(size=(20, 5)))
    widths = np.array([find_half_width(each, 0.0, 0.95) for each in estimate_seed_errors(groups)])
    assert np.median(widths[10:]) > 20 * np.median(widths[:10])


def test_the_unit_does_not_matter_nor_the_order() -> None:
    groups = list(np.random.default_rng(2).normal(size=(4, 3)))
    widths = [find_half_width(each, 0.0, 0.95) for each in estimate_seed_errors(groups)]
    scaled = [
        find_half_width(each, 0.0, 0.95)
        for each in estimate_seed_errors([9 * each for each in groups])
    ]
    assert scaled == pytest.approx([9 * each for each in widths], rel=1e-6)
    turned = [find_half_width(each, 0.0, 0.95) for each in estimate_seed_errors(groups[::-1])]
    assert turned[::-1] == pytest.approx(widths, rel=1e-6)


def test_no_spread_at_all_has_no_width_and_some_that_is_not_seen_has_one() -> None:
    same = [np.full(2, 0.1), np.full(3, 0.2)]
    assert [find_half_width(each, 0.0, 0.95) for each in estimate_seed_errors(same)] == [0.0, 0.0]
    (one,) = estimate_seed_errors([np.full(2, 0.1)], None, [1 / (12 * 100**2)])
    assert find_half_width(one, 0.0, 0.95) == pytest.approx(
        stats.t.ppf(0.975, 1) / 100 / np.sqrt(12) / np.sqrt(2), rel=1e-6
    )
    # The rest of a sweep gives a group without any seen spread one of its own.
    some = estimate_seed_errors([np.full(3, 0.1), np.array([0.1, 0.2, 0.3])])
    assert find_half_width(some[0], 0.0, 0.95) > 0.01


def coverage(truths: Array, draws: Array, shared: bool = False) -> tuple[float, float]:
    """Return how often 95 % intervals hold, each alone and, corrected, all together.

    Args:
        truths: Standard deviation of each group.
        draws: ``(n, G, S)`` standard normal.
        shared: Whether the groups say that their control is the same.
    """
    alone, together = [], []
    groups = draws.shape[1]
    for values in draws * truths[:, None]:
        errors = estimate_seed_errors(list(values), ["one"] * groups if shared else None)
        inside = np.array(
            [
                float(error.within(np.array([abs(each.mean())]))[0])
                for error, each in zip(errors, values, strict=True)
            ]
        )
        alone.append(float(np.mean(inside <= 0.95)))
        together.append(bool((inside <= 1 - 0.05 / groups).all()))
    return float(np.mean(alone)), float(np.mean(together))


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "groups"), [(2, 1), (2, 4), (3, 3), (5, 6)])
def test_equal_spreads_hold_in_95_of_100_cases(seeds: int, groups: int) -> None:
    """A wrong number of degrees of freedom, or a forgotten root, is far outside."""
    cases = 1200 // groups + 300
    draws = np.random.default_rng(seeds).normal(size=(cases, groups, seeds))
    alone, together = coverage(np.ones(groups), draws)
    assert 0.93 <= alone <= 0.97
    assert together >= 0.93


def test_unequal_spreads_hold_on_average() -> None:
    draws = np.random.default_rng(4).normal(size=(300, 6, 4))
    alone, _ = coverage(np.array([1.0, 3.0] * 3), draws)
    assert 0.915 <= alone <= 0.97


@pytest.mark.slow
def test_a_shared_control_is_no_evidence_twice() -> None:
    random = np.random.default_rng(5)
    draws = np.sqrt(0.9) * random.normal(size=(400, 1, 3)) + np.sqrt(0.1) * random.normal(
        size=(400, 8, 3)
    )
    known, _ = coverage(np.ones(8), draws, shared=True)
    unknown, _ = coverage(np.ones(8), draws)
    assert known > 0.91
    assert unknown < known - 0.03


def expect_variances(groups: Array, shared: int) -> list[float]:
    """Return the expected variance of each group; the first ``shared`` have one control.

    By scipy's F density, and the likelihood of ρ from the whole covariance of the groups.
    """
    freedom, variances = groups.shape[1] - 1, groups.var(1, ddof=1)
    spreads = variances.mean() * np.exp(SPREADS)
    fit = np.array(
        [
            [
                stats.f.logpdf(variances / s, freedom, d).sum() - len(groups) * np.log(s)
                for s in spreads
            ]
            for d in ALIKE
        ]
    )
    errors = (groups - groups.mean(1, keepdims=True))[:shared]
    logs, parts = [], []
    for rho in IN_COMMON:
        between = np.full((shared, shared), rho) + (1 - rho) * np.eye(shared)
        distance = np.trace(np.linalg.solve(between, errors @ errors.T))
        logs.append(
            -freedom / 2 * np.linalg.slogdet(between)[1] - shared * freedom / 2 * np.log(distance)
        )
        # Groups of which ρ of the variance is in common count for m / (1 + (m - 1) ρ²).
        counted = shared / (1 + (shared - 1) * rho**2) + len(groups) - shared
        weights = np.exp(fit * counted / len(groups)) * PRIOR[:, None]
        parts.append(weights / weights.sum())
    odds = np.exp(np.array(logs) - max(logs))
    weights = np.tensordot(odds / odds.sum(), np.array(parts), 1)
    alike = ALIKE[:, None]
    return [
        float((weights * (alike * spreads + freedom * v) / (alike + freedom)).sum())
        for v in variances
    ]


@pytest.mark.parametrize("in_common", [0.3, 0.9])
def test_groups_that_share_a_control_are_pooled_as_the_formulas_say(in_common: float) -> None:
    random = np.random.default_rng(7)
    own, control = random.normal(size=(6, 4)), random.normal(size=4)
    own *= np.array([0.3, 0.6, 1, 1, 2, 4])[:, None]  # so that it matters how many groups count
    own[:5] = np.sqrt(1 - in_common) * own[:5] + np.sqrt(in_common) * control
    found = estimate_seed_errors(list(own), ["one"] * 5 + ["two"])
    wanted = expect_variances(own, 5)
    assert [each.variance for each in found] == pytest.approx(wanted, rel=1e-4)


def test_models_in_several_pairs_count_once() -> None:
    groups = list(np.random.default_rng(6).normal(size=(6, 2)))
    free = find_half_width(estimate_seed_errors(groups)[0], 0.0, 0.95)
    bound = find_half_width(estimate_seed_errors(groups, None, 0.0, 3)[0], 0.0, 0.95)
    assert bound > free


def test_the_seeds_that_would_decide_are_those_of_a_t_test() -> None:
    """Of one group: the least n whose t interval around the same mean excludes 0."""
    values = np.array([0.0, 0.03, 0.03])
    (found,) = GainInterval.of([Differences("r2", values)])
    assert found.deciding is not None
    mean, spread = values.mean(), values.std(ddof=1)
    wanted = next(n for n in range(2, 99) if stats.t.ppf(0.975, n - 1) * spread / np.sqrt(n) < mean)
    assert found.deciding.seeds == wanted
    assert str(found.deciding) == f"about {wanted} seeds"


def test_what_no_number_of_seeds_decides() -> None:
    (error,) = estimate_seed_errors([np.array([0.01, 0.02])])
    width = find_half_width(error, 0.0, 0.95)
    assert count_seeds_needed(1e-5, width, error, 0.0, 0.95) == SeedsNeeded(None)
    assert str(SeedsNeeded(None)) == "more than 50 seeds"
    assert count_seeds_needed(0.0, width, error, 0.0, 0.95) == SeedsNeeded(None)
    found = count_seeds_needed(0.015, width, error, 1.0, 0.95)
    assert found == SeedsNeeded(None, samples=True)
    assert str(found) == "no number of seeds on so few test rows"


def test_a_clear_difference_needs_no_more_seeds() -> None:
    (found,) = GainInterval.of([Differences("r2", np.array([0.1, 0.101, 0.102]))])
    assert found.interval[0] > 0
    assert found.deciding is None
