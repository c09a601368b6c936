"""LogLoss against scikit-learn on 200 random cases, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from metric_cases import hold
from sklearn.metrics import log_loss

from mmx.metrics import Answers
from mmx.metrics.log_loss import LogLoss


def reference(answers: Answers) -> float:
    if answers.kind == "classes":
        labels = np.arange(len(answers.classes))
        return float(log_loss(answers.truth, answers.scores, labels=labels))
    each = [
        log_loss(answers.truth[:, c], answers.scores[:, c], labels=[0, 1])
        for c in range(len(answers.classes))
    ]
    return float(np.mean(each))


@pytest.mark.parametrize("kind", ["classes", "multilabel"])
def test_is_that_of_scikit_learn(kind: str) -> None:
    hold(LogLoss(), kind, reference)


def test_a_certain_wrong_answer_has_a_finite_loss() -> None:
    scores = np.array([[1.0, 0.0]])
    answers = Answers("classes", np.array([1]), scores, np.array([0]), ("a", "b"))
    assert LogLoss().find_value(answers) == pytest.approx(-np.log(2.0**-52))
    assert LogLoss().sign == -1
