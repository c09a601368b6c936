from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmx.evaluation.gain import RESAMPLES, Gain, paired_interval


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        (None, "one run, no interval"),
        ((-0.2, -0.1), "negative transfer: the source hurts"),
        ((0.1, 0.2), "positive transfer"),
        ((-0.1, 0.1), "no clear difference"),
        ((0.0, 0.0), "no clear difference"),
        ((0.0, 0.2), "no clear difference"),
        ((-0.2, 0.0), "no clear difference"),
    ],
)
def test_verdicts(interval: tuple[float, float] | None, verdict: str) -> None:
    assert Gain("accuracy", 0.0, interval).verdict == verdict


def naive(treated: np.ndarray, control: np.ndarray, seed: int) -> tuple[float, float]:
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(RESAMPLES):
        chosen = generator.integers(0, len(treated), len(treated))
        means.append(sum(float(treated[i]) - float(control[i]) for i in chosen) / len(chosen))
    means.sort()

    def quantile(part: float) -> float:
        place = part * (len(means) - 1)
        low = int(place)
        return means[low] + (means[min(low + 1, len(means) - 1)] - means[low]) * (place - low)

    return quantile(0.025), quantile(0.975)


@pytest.mark.parametrize("seed", [0, 5])
def test_interval_equals_a_naive_bootstrap(seed: int) -> None:
    random = np.random.default_rng(1)
    treated, control = random.integers(0, 2, (2, 20)).astype(float)
    found = paired_interval(treated, control, seed)
    assert found == pytest.approx(naive(treated, control, seed), abs=1e-12)
    assert paired_interval(treated, control, seed) == found


def test_equal_scores_have_no_width() -> None:
    same = np.array([1.0, 0.0, 1.0])
    assert paired_interval(same, same) == (0.0, 0.0)
    assert paired_interval(same + 0.5, same) == (0.5, 0.5)
    assert paired_interval(np.ones(1), np.zeros(1)) == (1.0, 1.0)


@settings(max_examples=5, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=30))
def test_interval_turns_with_its_arguments_and_holds_the_mean(
    pairs: list[tuple[bool, bool]],
) -> None:
    treated, control = np.array(pairs, dtype=float).T
    low, high = paired_interval(treated, control)
    assert -1 <= low <= high <= 1
    assert low - 1e-9 <= (treated - control).mean() <= high + 1e-9
    assert paired_interval(control, treated) == pytest.approx((-high, -low), abs=1e-12)


def test_more_samples_give_a_narrower_interval() -> None:
    few = np.tile([1.0, 0.0, 0.0, 1.0], 5)
    many = np.tile(few, 25)
    widths = []
    for scores in (few, many):
        low, high = paired_interval(scores, 1 - scores)
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 5, rel=0.15)
