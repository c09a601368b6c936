"""Accuracy against scikit-learn on 200 random cases, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from metric_cases import hold
from sklearn.metrics import accuracy_score

from mmx.metrics import Answers
from mmx.metrics.accuracy import Accuracy


@pytest.mark.parametrize("kind", ["classes", "multilabel"])
def test_is_that_of_scikit_learn(kind: str) -> None:
    hold(Accuracy(), kind, lambda answers: accuracy_score(answers.truth, answers.decided))


def test_a_label_set_is_right_as_a_whole() -> None:
    truth, decided = np.array([[1, 0], [1, 1]]), np.array([[1, 0], [1, 0]])
    answers = Answers("multilabel", truth, decided.astype(float), decided, ("a", "b"))
    assert Accuracy().find_value(answers) == 0.5
