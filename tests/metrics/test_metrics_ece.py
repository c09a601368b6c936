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
