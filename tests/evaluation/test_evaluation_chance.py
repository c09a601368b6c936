from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mmx.evaluation.chance import FALSE_ALARMS, Chance, find_chance
from mmx.tasks import Target


@settings(deadline=None)
@given(st.integers(1, 400), st.floats(0.01, 0.99), st.data())
def test_beaten_is_the_exact_binomial_test(samples: int, part: float, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, samples))
    tail = stats.binomtest(hits, samples, part, alternative="greater").pvalue
    if abs(tail - FALSE_ALARMS) > 1e-9:
        expected = hits / samples > part and tail < FALSE_ALARMS
        assert Chance(part, samples).is_beaten_by(hits / samples) == expected


@pytest.mark.parametrize(
    ("accuracy", "part", "samples", "beaten"),
    [
        (0.056, 0.1, 300, False),
        (0.1, 0.1, 300, False),
        (0.12, 0.1, 300, False),  # 36 of 300: by luck in one of seven cases
        (0.14, 0.1, 300, True),
        (0.105, 0.1, 10_000, False),
        (0.106, 0.1, 10_000, True),
        (1.0, 1.0, 50, False),  # one class alone
        (1.0, 0.5, 4, False),  # four right of four: one of sixteen
        (1.0, 0.5, 5, True),
    ],
)
def test_known_cases(accuracy: float, part: float, samples: int, beaten: bool) -> None:
    assert Chance(part, samples).is_beaten_by(accuracy) is beaten


def test_chance_is_the_part_of_the_most_frequent_class() -> None:
    values = torch.tensor([2, 0, 2, 2, 1])
    assert find_chance(values, Target("classes", ("a", "b", "c"))) == Chance(0.6, 5)
    assert find_chance(values.float(), Target("regression", ())) is None
    assert find_chance(values[:0], Target("classes", ("a", "b", "c"))) is None
