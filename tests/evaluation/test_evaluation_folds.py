"""Intervals over folds: Nadeau and Bengio's correction, by hand and by a second implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mmx.evaluation.folds import average_parts, find_half_width_of_folds
from mmx.evaluation.gain_intervals import Differences, GainInterval
from mmx.evaluation.permutation import swap_test
from mmx.evaluation.sample_metric import Pair, SampleScores


def pair(ours: list[int], theirs: list[int], rows: list[int]) -> Pair:
    """Return the hits of two models on the same rows."""
    one, two = (
        SampleScores("accuracy", np.array(hits, dtype=np.float64)[:, None], np.array(rows))
        for hits in (ours, theirs)
    )
    return one, two


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("folds", [2, 5, 10])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_half_width_is_that_of_the_papers(folds: int, repeats: int, level: float) -> None:
    values = np.random.default_rng(folds).normal(0.1, 0.05, folds * repeats)
    tested = 1 / folds  # shares of all rows
    factor = 1 / len(values) + tested / (1 - tested)
    t = stats.t(len(values) - 1).ppf((1 + level) / 2)
    wanted = t * math.sqrt(factor * np.var(values, ddof=1))
    assert find_half_width_of_folds(values, folds, level) == pytest.approx(wanted, rel=1e-12)


def test_half_width_by_hand() -> None:
    # Differences 0, 0.1, 0.2, 0.3, 0.4: s² = 0.025; 1/5 + 1/4 = 0.45; t(4) = 2.776445.
    found = find_half_width_of_folds(np.array([0, 0.1, 0.2, 0.3, 0.4]), 5, 0.95)
    assert found == pytest.approx(2.776445 * math.sqrt(0.025 * 0.45), rel=1e-6)


def test_seeds_of_a_fold_are_one_value() -> None:
    values = np.array([0.1, 0.3, 0.5, 0.2])
    parts = [(1, 1), (1, 2), (1, 1), (1, 3)]
    assert average_parts(values, parts).tolist() == [pytest.approx(0.3), 0.3, 0.2]


def test_a_gain_over_folds_has_this_interval_and_is_not_pooled() -> None:
    random = np.random.default_rng(0)
    pairs, parts = [], []
    for fold in range(5):
        rows = [*range(fold * 200, fold * 200 + 200)]
        ours, theirs = ((random.random(200) < rate).astype(int).tolist() for rate in (0.7, 0.5))
        pairs.append(pair(ours, theirs, rows))
        parts.append((1, fold + 1))
    group = Differences.of(pairs, 5, parts)
    noisy = Differences("accuracy", np.array([0.9, -0.9, 0.5, -0.2, 0.1]), folds=5)
    found, other = GainInterval.of([group, noisy])
    reach = find_half_width_of_folds(group.values, 5, 0.95)
    middle = group.values.mean()
    assert found.interval == pytest.approx((middle - reach, middle + reach), abs=1e-12)
    assert found.interval[0] > 0
    alone = GainInterval.of([noisy])[0]
    assert other == alone
    seeds = GainInterval.of([Differences("accuracy", group.values)])[0]
    wider = (found.interval[1] - found.interval[0]) / (seeds.interval[1] - seeds.interval[0])
    assert wider == pytest.approx(math.sqrt((1 / 5 + 1 / 4) * 5), rel=1e-6)


def test_equal_folds_are_not_certain_and_few_rows_decide_nothing() -> None:
    # One row more in every fold: s² is 0, but five rows to none is p = 2 / 32.
    pairs = [
        pair([1, 1, 0], [1, 0, 0], [3 * fold, 3 * fold + 1, 3 * fold + 2]) for fold in range(5)
    ]
    group = Differences.of(pairs, 5, [(1, fold) for fold in range(5)])
    assert swap_test(pairs, by_row=True) == pytest.approx(2 / 32)
    low, high = GainInterval.of([group])[0].interval
    assert low <= 0 < high
    # At a level of 1 - 2 / 32 the test does not reject either: p has to be below.
    assert GainInterval.of([group], level=30 / 32)[0].interval[0] == 0
    assert GainInterval.of([group], level=29 / 32)[0].interval[0] > 0


def test_repeats_of_the_same_rows_are_no_more_evidence() -> None:
    once = [pair([1, 1], [1, 0], [2 * fold, 2 * fold + 1]) for fold in range(5)]
    thrice = [
        *once,
        *(pair([1, 1], [0, 1], [2 * fold + 1, (2 * fold + 2) % 10]) for fold in range(5)),
        *(pair([1, 1], [0, 1], [2 * fold + 1, (2 * fold + 4) % 10]) for fold in range(5)),
    ]
    assert swap_test(thrice, by_row=True) == swap_test(once, by_row=True) == pytest.approx(2 / 32)
    assert swap_test(thrice) < 0.01  # as if they were other rows
    parts = [(repeat, fold) for repeat in range(3) for fold in range(5)]
    assert GainInterval.of([Differences.of(thrice, 5, parts)])[0].interval[0] == 0
