"""Ece against its formula on 200 random cases, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from metric_cases import hold

from mmx.metrics import Answers
from mmx.metrics.ece import Ece


def reference(answers: Answers, bins: int) -> float:
    """Return the error bin by bin, as Guo et al. write it."""
    if answers.kind == "classes":
        confidence, right = answers.scores.max(1), answers.decided == answers.truth
    else:
        confidence, right = answers.scores.ravel(), answers.truth.ravel()
    total = 0.0
    for place in range(bins):
        inside = (confidence > place / bins) & (confidence <= (place + 1) / bins)
        if inside.any():
            apart = abs(confidence[inside].mean() - right[inside].mean())
            total += inside.sum() / len(confidence) * apart
    return float(total)


@pytest.mark.parametrize("bins", [15, 7])
@pytest.mark.parametrize("kind", ["classes", "multilabel"])
def test_is_the_sum_over_bins(kind: str, bins: int) -> None:
    hold(Ece(bins=bins), kind, lambda answers: reference(answers, bins))


def test_an_overconfident_model_by_hand() -> None:
    scores = np.array([[0.9, 0.1]] * 4)
    answers = Answers("classes", np.array([0, 0, 1, 1]), scores, np.zeros(4, int), ("a", "b"))
    assert Ece().find_value(answers) == pytest.approx(0.4)
    assert not Ece().shows_learning


def test_the_upper_end_belongs_to_a_bin_by_hand() -> None:
    # Of two bins, 1/2 (right: -1/2) lies in the first and 1 (wrong: +1) in the second.
    truth, scores = np.array([0, 1]), np.array([[0.5, 0.5], [1.0, 0.0]])
    answers = Answers("classes", truth, scores, np.array([0, 0]), ("a", "b"))
    assert Ece(bins=2).find_value(answers) == pytest.approx((1 / 2 + 1) / 2)


def test_all_labels_of_a_row_in_one_bin_count_by_hand() -> None:
    # 0.9 - 1 and 0.9 - 0, half each, since there are two labels.
    labels, scores = np.array([[1, 0]]), np.array([[0.9, 0.9]])
    answers = Answers("multilabel", labels, scores, np.array([[1, 1]]), ("a", "b"))
    assert Ece().find_value(answers) == pytest.approx((0.9 - 0.1) / 2)
