"""Intervals of a gain: over samples, over seeds; how often they hold the truth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mmx.evaluation import gain_intervals
from mmx.evaluation.gain_intervals import (
    RESAMPLES,
    Differences,
    GainInterval,
    bonferroni_level,
    find_coverage,
    find_half_width,
    find_sample_interval,
    find_seed_interval,
    resample_pairs,
)
from mmx.evaluation.pooling import estimate_seed_errors
from mmx.evaluation.sample_metric import SampleScores
from mmx.metrics.mae import Mae

Array = npt.NDArray[np.float64]


def hits(values: Array, rows: npt.NDArray[np.int64] | None = None) -> SampleScores:
    """Return scores whose metric is the mean of the values."""
    return SampleScores(
        "accuracy", values[:, None], np.arange(len(values)) if rows is None else rows
    )


def graded(values: Array) -> Array:
    """Return values that are no plain hits and misses, so that they are resampled."""
    return values + 0.5


def pair(treated: Array, control: Array) -> tuple[SampleScores, SampleScores]:
    return hits(treated), hits(control)


def quantile(values: list[float], part: float) -> float:
    place = part * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


def naive(treated: Array, control: Array, level: float, seed: int) -> tuple[float, float]:
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(RESAMPLES):
        chosen = generator.integers(0, len(treated), len(treated))
        means.append(sum(float(treated[i]) - float(control[i]) for i in chosen) / len(chosen))
    means.sort()
    return quantile(means, (1 - level) / 2), quantile(means, (1 + level) / 2)


@pytest.mark.parametrize(("seed", "level"), [(0, 0.95), (5, 0.99)])
def test_the_interval_over_samples_equals_a_naive_bootstrap(seed: int, level: float) -> None:
    random = np.random.default_rng(1)
    treated, control = graded(random.integers(0, 2, (2, 20)).astype(float))
    treated[:12] += 0.25  # 0 is far from the interval, or within it
    found = find_sample_interval(pair(treated, control), level=level, seed=seed)
    assert found == pytest.approx(naive(treated, control, level, seed), abs=1e-12)
    assert find_sample_interval(pair(treated, control), level=level, seed=seed) == found


@pytest.mark.parametrize("comparisons", [10, 41, 180])
def test_the_ends_of_many_comparisons_are_where_few_resamples_lie(comparisons: int) -> None:
    random = np.random.default_rng(2)
    treated, control = random.normal(0.1, 1, 400), np.zeros(400)
    tail = 0.05 / comparisons / 2
    level = bonferroni_level(comparisons)
    found = np.array(
        [find_sample_interval(pair(treated, control), level=level, seed=s) for s in range(5)]
    )
    error = treated.std() / np.sqrt(len(treated))
    ends = treated.mean() + error * stats.norm.ppf([tail, 1 - tail])
    assert found.mean(0) == pytest.approx(ends, abs=0.1 * error)
    assert np.all(np.abs(found - ends) < 0.35 * error)


def test_the_interval_over_samples_is_close_to_that_of_scipy() -> None:
    random = np.random.default_rng(2)
    treated, control = graded(random.integers(0, 2, (2, 300)).astype(float))
    low, high = find_sample_interval(pair(treated, control))
    wanted = stats.bootstrap(
        (treated, control),
        lambda one, two: np.mean(one - two),
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert low == pytest.approx(wanted.low, abs=0.01)
    assert high == pytest.approx(wanted.high, abs=0.01)


def test_what_is_no_mean_is_resampled_too() -> None:
    random = np.random.default_rng(3)
    one, two = (
        SampleScores("f1_macro", random.integers(0, 2, (9, 4)) * 1.0, np.arange(9)) for _ in "ab"
    )
    (found,) = resample_pairs([(one, two)], seed=0)
    generator = np.random.default_rng(0)
    for value in found[:20]:
        chosen = generator.integers(0, 9, 9)
        parts = [scores.of_sums(scores.statistics[chosen].sum(0)) for scores in (one, two)]
        assert value == pytest.approx(float(parts[0] - parts[1]), abs=1e-12)


def test_resamples_worked_on_in_chunks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    both = pair(*random.integers(0, 2, (2, 30)).astype(float))
    whole = resample_pairs([both], seed=0)
    monkeypatch.setattr(gain_intervals, "NUMBERS_AT_ONCE", 70)
    assert np.array_equal(resample_pairs([both], seed=0), whole)


def test_equal_scores_have_no_width_where_they_are_no_hits() -> None:
    same = graded(np.array([1.0, 0.0, 1.0]))
    assert find_sample_interval(pair(same, same)) == (0.0, 0.0)
    shifted = graded(np.zeros(40))
    assert find_sample_interval(pair(shifted + 0.5, shifted)) == (0.5, 0.5)


@settings(max_examples=5, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=30))
def test_the_interval_turns_with_its_arguments_and_holds_the_mean(
    pairs: list[tuple[bool, bool]],
) -> None:
    treated, control = np.array(pairs, dtype=float).T
    low, high = find_sample_interval(pair(treated, control))
    assert -1 <= low <= high <= 1
    assert low - 1e-9 <= (treated - control).mean() <= high + 1e-9
    turned = find_sample_interval(pair(control, treated))
    assert turned == pytest.approx((-high, -low), abs=1e-12)


def test_more_samples_give_a_narrower_interval() -> None:
    few = np.tile([1.0, 0.0, 0.0, 1.0], 5)
    many = np.tile(few, 25)
    widths = []
    for scores in (few, many):
        low, high = find_sample_interval(pair(scores, 1 - scores))
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 5, rel=0.15)


@pytest.mark.parametrize(("comparisons", "level"), [(0, 0.95), (1, 0.95), (2, 0.975), (10, 0.995)])
def test_several_comparisons_share_the_error(comparisons: int, level: float) -> None:
    assert bonferroni_level(comparisons) == pytest.approx(level)


@pytest.mark.parametrize("count", [2, 3, 5, 20])
@pytest.mark.parametrize("level", [0.95, 0.995])
def test_without_a_sample_level_it_is_students_interval(count: int, level: float) -> None:
    values = np.random.default_rng(count).normal(0.1, 0.02, count)
    (found,) = GainInterval.of([Differences("r2", values)], level=level)
    wanted = stats.ttest_rel(values, np.zeros(count)).confidence_interval(level)
    assert found.interval == pytest.approx((wanted.low, wanted.high), rel=1e-8)


@pytest.mark.parametrize("level", [0.95, 0.9997])
def test_both_errors_add_up(level: float) -> None:
    values = np.array([0.1, 0.13, 0.05])
    (error,) = estimate_seed_errors([values])
    found = find_half_width(error, 4e-4, level)
    t = np.random.default_rng(0).standard_t(2, 2_000_000) * values.std(ddof=1) / np.sqrt(3)
    whole = np.abs(t + 0.02 * np.random.default_rng(1).normal(size=len(t)))
    assert found == pytest.approx(np.quantile(whole, level), rel=0.03)
    assert float(find_coverage(error, 4e-4, np.array([found]))[0]) == pytest.approx(level, abs=1e-5)
    (still,) = estimate_seed_errors([np.full(3, 0.1)])
    assert find_half_width(still, 4e-4, 0.95) == pytest.approx(
        0.02 * stats.norm.ppf(0.975), rel=0.02
    )


def test_where_seeds_explain_all_that_samples_show_it_is_students_interval() -> None:
    shown = np.random.default_rng(3).normal(size=(3, 40))
    shown -= shown.mean(0)  # the mean over seeds is the same for every sample
    pairs = [pair(each, np.zeros(40)) for each in shown]
    differences = [treated.value for treated, _ in pairs]
    wanted = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert find_seed_interval(pairs) == pytest.approx((wanted.low, wanted.high), rel=1e-9)


def test_seeds_that_were_tested_on_other_samples_are_compared_as_wholes() -> None:
    random = np.random.default_rng(6)
    hard = random.normal(size=25)  # what makes a sample hard for every seed
    scores = np.stack([hard + 0.1 * random.normal(size=(3, 25)), np.zeros((3, 25))], axis=1)
    rows = [np.arange(25) + seed for seed in range(3)]
    apart = [(hits(one, own), hits(two, own)) for (one, two), own in zip(scores, rows, strict=True)]
    differences = scores[:, 0].mean(1) - scores[:, 1].mean(1)
    wanted = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert find_seed_interval(apart)[1] == pytest.approx(wanted.high, rel=1e-8)
    one, other = find_seed_interval([pair(*each) for each in scores]), find_seed_interval(apart)
    assert one[1] - one[0] > 2 * (other[1] - other[0])


def test_one_seed_has_the_interval_over_samples() -> None:
    one = pair(*np.random.default_rng(7).integers(0, 2, (2, 25)).astype(float))
    assert find_seed_interval([one], level=0.9) == find_sample_interval(one, level=0.9)


def test_the_sample_level_is_that_of_the_mean_over_seeds_less_what_seeds_show() -> None:
    """The variance of both levels together, by an analysis of variance of the differences."""
    random = np.random.default_rng(8)
    seeds, samples = 6, 400
    d = random.normal(0, 0.5, samples) + random.normal(0, 1, (seeds, samples))
    low, high = find_seed_interval([pair(each, np.zeros(samples)) for each in d])
    mixed = d - d.mean(0) - d.mean(1)[:, None] + d.mean()
    residual = (mixed**2).sum() / ((seeds - 1) * (samples - 1)) / (seeds * samples)
    of_samples = max(0.0, d.mean(0).var(ddof=1) / samples - residual)
    of_seeds = d.mean(1).var(ddof=1) / seeds
    t = np.random.default_rng(9).standard_t(seeds - 1, 200_000)
    draws = d.mean() + np.sqrt(of_seeds) * t
    draws += np.sqrt(of_samples) * np.random.default_rng(10).normal(size=len(t))
    wanted = np.quantile(draws, [0.025, 0.975])
    assert [low, high] == pytest.approx(wanted, abs=0.04 * (wanted[1] - wanted[0]))


def test_the_variance_over_rows_of_an_accuracy_by_hand() -> None:
    # Differences of four rows in two seeds. Means of rows 1, 1/2, 0, 1: variance 11/64. Around
    # them each seed has 0, ±1/2, 0, 0: variance 3/64, together 6/64 with one degree of freedom.
    differences = np.array([[1.0, 1, 0, 1], [1.0, 0, 0, 1]])
    group = Differences.of([pair(each, np.zeros(4)) for each in differences])
    assert group.sample_variance == pytest.approx((11 / 64 - 6 / 64 / 2) / 4, rel=1e-12)
    # A third seed that is equal to the first: means of rows 1, 2/3, 0, 1, variance 1/6; around
    # them ±1/3, ∓2/3, variances 1/48, 1/12 and 1/48, together 1/8 with two degrees.
    group = Differences.of([pair(each, np.zeros(4)) for each in differences[[0, 1, 0]]])
    assert group.sample_variance == pytest.approx((1 / 6 - 1 / 8 / 2 / 3) / 4, rel=1e-12)


def test_the_variance_over_rows_of_another_mean_is_that_of_an_accuracy_by_resamples() -> None:
    random = np.random.default_rng(3)
    values = random.normal(size=300) + random.normal(size=(3, 300))
    errors = [SampleScores("mae", each[:, None], np.arange(300), Mae()) for each in values]
    none = SampleScores("mae", np.zeros((300, 1)), np.arange(300), Mae())
    resampled = Differences.of([(each, none) for each in errors]).sample_variance
    exact = Differences.of([pair(each, np.zeros(300)) for each in values]).sample_variance
    # Variation by row and seed would add a third: the spread of the seeds contains it already.
    assert resampled == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize("undefined", [0.4, 0.6])
def test_resamples_without_the_metric_are_left_out_unless_they_are_most(
    monkeypatch: pytest.MonkeyPatch, undefined: float
) -> None:
    found = np.random.default_rng(4).normal(0, 1, (1, RESAMPLES))
    found[:, : round(undefined * RESAMPLES)] = np.nan
    monkeypatch.setattr(gain_intervals, "resample_pairs", lambda pairs, seed: found)
    one, two = (SampleScores("mae", np.ones((9, 1)), np.arange(9), Mae()) for _ in range(2))
    ends = find_sample_interval((one, two))
    if undefined < 0.5:
        assert ends == pytest.approx((-1.96, 1.96), abs=0.2)
    else:
        assert np.isnan(ends).all()


def test_a_control_is_shared_where_it_differs_between_seeds() -> None:
    ours, theirs, others = np.random.default_rng(5).integers(0, 2, (3, 2, 9)).astype(float)

    def key(treated: Array, control: Array) -> object:
        return Differences.of([pair(*each) for each in zip(treated, control, strict=True)]).control

    assert key(ours, theirs) == key(others, theirs) is not None
    assert key(ours, theirs) != key(ours, others)
    # One answer for all rows, whatever the seed: no error of seeds is in it.
    assert key(ours, np.stack([theirs[0], theirs[0]])) is None


@pytest.mark.parametrize(
    ("of_seed", "of_sample", "of_both"),
    [(0.05, 0.3, 0.05), (0.05, 0.3, 1.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.3)],
)
def test_five_seeds_hold_the_truth_in_95_of_100_cases(
    of_seed: float, of_sample: float, of_both: float
) -> None:
    random = np.random.default_rng(11)
    seeds, samples, truth, cases = 5, 100, 0.03, 400
    nothing, held = hits(np.zeros(samples)), 0
    for _ in range(cases):
        gains = truth + of_seed * random.normal(size=(seeds, 1))
        gains = gains + of_sample * random.normal(size=samples)
        gains = gains + of_both * random.normal(size=(seeds, samples))
        group = Differences.of([(hits(each), nothing) for each in gains])
        (error,) = estimate_seed_errors([group.values])
        distance = np.array([abs(group.values.mean() - truth)])
        held += float(find_coverage(error, group.sample_variance, distance)[0]) <= 0.95
    assert 0.93 <= held / cases <= 0.98


def test_four_rows_to_none_are_no_clear_difference() -> None:
    """McNemar's exact test has p = 0.125, where a bootstrap and a score interval exclude 0."""
    control = np.tile([1.0, 0.0], 20)
    treated = control.copy()
    treated[[1, 3, 5, 7]] = 1
    low, high = find_sample_interval(pair(treated, control))
    assert low == 0.0
    assert high > 0.2
    assert find_sample_interval(pair(control, treated)) == (-high, 0.0)
    # The same rows in every seed are no more evidence than in one.
    low, high = find_seed_interval([pair(treated, control)] * 3)
    assert low == 0.0 < high
    treated[[9, 11]] = 1  # six to none: p = 0.031
    assert find_sample_interval(pair(treated, control))[0] > 0
    assert find_sample_interval(pair(treated, control), level=bonferroni_level(2))[0] == 0.0


def test_the_interval_of_accuracies_is_not_empty_where_both_are_right_on_the_same() -> None:
    same = np.tile([1.0, 0.0], 50)
    low, high = find_sample_interval(pair(same, same))
    z = stats.norm.ppf(0.975)
    assert (low, high) == pytest.approx((-(z**2) / (100 + z**2), z**2 / (100 + z**2)))


def test_a_few_rows_of_another_metric_are_no_clear_difference() -> None:
    """All four rows are better: 2 of 16 ways to swap them are as far from 0."""
    truth = np.array([-1.5, -0.5, 0.5, 1.5])
    far, near = (
        SampleScores("r2", np.stack([errors, truth, truth**2], 1), np.arange(4))
        for errors in (np.full(4, 1.0), np.array([0.1, 0.2, 0.1, 0.2]))
    )
    assert np.quantile(resample_pairs([(near, far)], 0)[0], 0.025) > 0
    assert find_sample_interval((near, far))[0] == 0.0


def test_differences_stay_in_their_range() -> None:
    (found,) = GainInterval.of([Differences("accuracy", np.array([0.9, -0.2]))])
    assert found.interval == (-1.0, 1.0)
    (free,) = GainInterval.of([Differences("r2", np.array([0.9, -0.2]))])
    assert free.interval[1] > 5


def test_values_that_are_no_numbers_do_not_spoil_the_others() -> None:
    bad, good = (Differences("r2", np.array(each)) for each in ([np.nan, 0.1], [0.2, 0.25]))
    first, second = GainInterval.of([bad, good])
    assert np.isnan(first.interval).all()
    assert second == GainInterval.of([good])[0]


def test_the_percentiles_of_five_seeds_would_not() -> None:
    random = np.random.default_rng(12)
    gains = random.normal(size=(500, 5))
    drawn = np.take_along_axis(gains, random.integers(0, 5, (500, 1000, 5)).reshape(500, -1), 1)
    low, high = np.quantile(drawn.reshape(500, 1000, 5).mean(2), [0.025, 0.975], axis=1)
    assert np.mean((low <= 0) & (high >= 0)) < 0.88
