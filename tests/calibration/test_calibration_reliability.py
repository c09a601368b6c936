"""Bins of confidence: by hand, and with the calibration error that they sum to."""

from __future__ import annotations

import numpy as np
import pytest
from metric_cases import make_answers

from mmx.calibration import ReliabilityBin, find_reliability
from mmx.metrics import Answers
from mmx.metrics.ece import Ece


def test_two_bins_by_hand() -> None:
    scores = np.array([[0.9, 0.1], [0.92, 0.08], [0.4, 0.6], [0.39, 0.61]])
    answers = Answers("classes", np.array([0, 1, 1, 1]), scores, scores.argmax(1), ("a", "b"))
    low, high = find_reliability(answers, bins=2)[0], find_reliability(answers, bins=5)[-1]
    assert (low.count, low.accuracy) == (4, 0.75)
    assert high == ReliabilityBin(2, pytest.approx(0.91), 0.5)


@pytest.mark.parametrize("kind", ["classes", "multilabel"])
def test_the_gaps_of_the_bins_sum_to_the_calibration_error(kind: str) -> None:
    for seed in range(20):
        answers = make_answers(seed, kind)
        bins = find_reliability(answers)
        total = sum(each.count for each in bins)
        gaps = sum(each.count * abs(each.confidence - each.accuracy) for each in bins)
        assert gaps / total == pytest.approx(Ece().find_value(answers))
        assert total == len(answers.truth) * (1 if kind == "classes" else len(answers.classes))
