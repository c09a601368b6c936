"""Two models that are right or wrong on the same rows: exact p, score interval, swaps."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize, stats

from mmx.evaluation.gain_intervals import bonferroni_level, find_sample_interval
from mmx.evaluation.mcnemar import Discordant
from mmx.evaluation.permutation import swap_test
from mmx.evaluation.sample_metric import Pair, SampleScores

Array = npt.NDArray[np.float64]


def counted(first: int, second: int, samples: int) -> Pair:
    """Return scores with so many rows on which only one model is right."""
    one, two = np.zeros((2, samples))
    one[:first] = 1
    two[first : first + second] = 1
    rows = np.arange(samples)
    return SampleScores("accuracy", one[:, None], rows), SampleScores(
        "accuracy", two[:, None], rows
    )


@pytest.mark.parametrize(("first", "second"), [(4, 0), (0, 5), (6, 0), (7, 2), (30, 41), (8, 8)])
def test_p_is_that_of_a_fair_coin(first: int, second: int) -> None:
    found = Discordant(first, second, 200)
    assert found.p == pytest.approx(stats.binomtest(first, first + second, 0.5).pvalue)
    assert swap_test([counted(first, second, 200)]) == found.p


def test_models_that_never_differ_have_p_1() -> None:
    assert Discordant(0, 0, 9).p == 1.0
    assert swap_test([counted(0, 0, 9)]) == 1.0


def score(first: int, second: int, samples: int, theta: float) -> float:
    """Return the score statistic; the likeliest nuisance part is searched for."""

    def unlikely(part: float) -> float:
        parts = np.array([part + theta, part, 1 - 2 * part - theta])
        counts = np.array([first, second, samples - first - second])
        return float(-(counts * np.log(np.maximum(parts, 1e-300))).sum())

    low, high = max(0.0, -theta), (1 - theta) / 2
    part = optimize.minimize_scalar(
        unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    ).x
    variance = samples * (2 * part + theta - theta**2)
    return float((first - second - samples * theta) / np.sqrt(variance))


@pytest.mark.parametrize(
    ("first", "second", "samples"), [(9, 3, 44), (4, 1, 40), (1, 12, 60), (20, 20, 50), (5, 2, 7)]
)
@pytest.mark.parametrize("level", [0.95, 0.995])
def test_the_ends_are_where_the_score_test_just_does_not_reject(
    first: int, second: int, samples: int, level: float
) -> None:
    low, high = Discordant(first, second, samples).interval(level)
    z = stats.norm.ppf((1 + level) / 2)
    assert score(first, second, samples, low) == pytest.approx(z, rel=1e-3)
    assert score(first, second, samples, high) == pytest.approx(-z, rel=1e-3)


def test_the_ends_of_one_sided_counts() -> None:
    z = stats.norm.ppf(0.975)
    assert Discordant(0, 0, 30).interval(0.95)[1] == pytest.approx(z**2 / (30 + z**2))
    assert Discordant(30, 0, 30).interval(0.95)[1] == 1.0
    assert Discordant(0, 30, 30).interval(0.95)[0] == -1.0


def test_no_verdict_where_the_exact_test_does_not_reject() -> None:
    """Of all counts up to 12, at three levels."""
    for first, second in product(range(13), repeat=2):
        pair = counted(first, second, 60)
        for comparisons in (1, 3, 20):
            level = bonferroni_level(comparisons)
            low, high = find_sample_interval(pair, level=level)
            if low > 0 or high < 0:
                assert Discordant(first, second, 60).p < 1 - level


def test_swaps_of_rows_by_hand() -> None:
    random = np.random.default_rng(3)
    pairs = []
    for _ in range(2):
        one, two = random.integers(0, 2, (2, 6, 4)).astype(float)
        rows = np.arange(6)
        pairs.append((SampleScores("f1_macro", one, rows), SampleScores("f1_macro", two, rows)))

    def difference(swap: tuple[int, ...]) -> float:
        total = 0.0
        moved = np.array(swap, dtype=bool)[:, None]
        for first, second in pairs:
            mine = np.where(moved, second.statistics, first.statistics)
            theirs = np.where(moved, first.statistics, second.statistics)
            total += float(first.of_sums(mine.sum(0)) - second.of_sums(theirs.sum(0)))
        return total

    observed = abs(difference((0,) * 6))
    swaps = [abs(difference(each)) for each in product((0, 1), repeat=6)]
    wanted = np.mean([each >= observed - 1e-12 for each in swaps])
    assert swap_test(pairs) == pytest.approx(wanted)


def test_random_swaps_are_close_to_all_of_them() -> None:
    values = np.random.default_rng(4).normal(0.35, 1, 16)
    one, two = (
        SampleScores("accuracy", each[:, None], np.arange(16)) for each in (values, np.zeros(16))
    )
    signs = np.array(list(product((-1, 1), repeat=16)))
    wanted = np.mean(np.abs(signs @ values) >= abs(values.sum()) - 1e-12)
    assert swap_test([(one, two)]) == pytest.approx(wanted, abs=0.015)
    assert swap_test([(one, two)]) == swap_test([(one, two)])


def test_seeds_of_other_rows_are_swapped_apart() -> None:
    """Three rows to none in each of two seeds: together six to none."""
    one, two = counted(3, 0, 20)
    moved = SampleScores("accuracy", one.statistics, one.rows + 50)
    other = SampleScores("accuracy", two.statistics, two.rows + 50)
    assert swap_test([(one, two), (one, two)]) == 0.25
    assert swap_test([(one, two), (moved, other)]) == pytest.approx(2 / 64)


@pytest.mark.parametrize(("both", "samples"), [(0.1, 40), (0.04, 100), (0.3, 50)])
def test_the_score_interval_holds_the_truth_at_few_discordant_rows(
    both: float, samples: int
) -> None:
    """Exactly, by the multinomial probability of all counts, averaged over differences."""
    held = []
    for part in (0.5, 0.7, 0.9, 1.0):
        up, down = both * part, both * (1 - part)
        truth, total = up - down, 0.0
        for first, second in product(range(samples + 1), repeat=2):
            if first + second > min(samples, 30):
                continue
            chance = stats.multinomial.pmf(
                [first, second, samples - first - second], samples, [up, down, 1 - both]
            )
            if chance > 1e-5:
                low, high = Discordant(first, second, samples).interval(0.95)
                total += chance * (low - 1e-12 <= truth <= high + 1e-12)
        held.append(total)
    assert 0.93 < np.mean(held) < 0.985
    assert min(held) > 0.92
