"""Shifts: rows of one distribution say nothing, others what differs."""

from __future__ import annotations

import numpy as np
import pytest

from mmx.evaluation.data_statistics import (
    DataStatistics,
    InputStatistics,
    LabelStatistics,
    NumberRange,
    TrainingStatistics,
)
from mmx.evaluation.shift import differs, find_shifts


def make(inputs: dict[str, InputStatistics], rows: int = 100) -> DataStatistics:
    return DataStatistics(inputs, LabelStatistics(rows, {"a": rows // 2, "b": rows - rows // 2}))


def test_shares_of_one_distribution_rarely_differ() -> None:
    random = np.random.default_rng(0)
    found = 0
    for _ in range(2000):
        share = random.uniform(0, 0.5)
        one, two = random.binomial(300, share), random.binomial(200, share)
        found += differs(int(one), 300, int(two), 200)
    assert found < 20
    assert differs(30, 100, 10, 100)
    assert not differs(3, 10, 1, 10)  # too few rows
    assert not differs(40, 1000, 10, 1000)  # too small a difference
    assert not differs(0, 0, 10, 100)


def test_sizes_and_rates_of_files_are_compared() -> None:
    def sounds(rate: str, longest: float) -> InputStatistics:
        sizes = {"length": NumberRange(100, 1.0, longest)}
        return InputStatistics(100, 0, sizes=sizes, tallies={"sampling rate": {rate: 100}})

    known = make({"audio": sounds("16000 Hz", 2.0)})
    training = TrainingStatistics(known, known)
    assert find_shifts(training, known) == []
    assert find_shifts(training, make({"audio": sounds("8000 Hz", 9.0)})) == [
        "audio: length is 1 to 9 s, 1 to 2 s in the training rows",
        "audio: sampling rate 8000 Hz (100 rows) is in no training row; there: 16000 Hz",
    ]


def test_pictures_of_another_size_are_said() -> None:
    def pictures(width: float) -> DataStatistics:
        sizes = {"width": NumberRange(50, width, width), "height": NumberRange(50, 32, 32)}
        return make({"image": InputStatistics(50, 0, sizes=sizes)})

    training = TrainingStatistics(pictures(32), pictures(32))
    assert find_shifts(training, pictures(640)) == [
        "image: width is 640 to 640 px, 32 to 32 px in the training rows"
    ]


def test_a_missing_input_is_compared_by_share() -> None:
    training = TrainingStatistics(*[make({"text": InputStatistics(200, 10)})] * 2)
    assert find_shifts(training, make({"text": InputStatistics(100, 5)})) == []
    [said] = find_shifts(training, make({"text": InputStatistics(100, 50)}))
    assert said == "text: 50 % of the rows have none, 5 % of the training rows"


@pytest.mark.parametrize(("mean", "count"), [(0.0, 0), (0.15, 0), (0.5, 1)])
def test_numbers_to_predict_are_compared_by_mean(mean: float, count: int) -> None:
    known = DataStatistics({}, LabelStatistics(500, mean=0.0, std=1.0, low=-3.0, high=3.0))
    here = DataStatistics({}, LabelStatistics(400, mean=mean, std=1.0, low=-3.0, high=3.2))
    assert len(find_shifts(TrainingStatistics(known, known), here)) == count
