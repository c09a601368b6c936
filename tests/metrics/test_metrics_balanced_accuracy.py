"""BalancedAccuracy against scikit-learn on 200 random cases, and by hand."""

from __future__ import annotations

import numpy as np
from metric_cases import hold
from sklearn.metrics import recall_score

from mmx.metrics import Answers
from mmx.metrics.balanced_accuracy import BalancedAccuracy


def reference(answers: Answers) -> float:
    # balanced_accuracy_score without its warning where a resample lacks a class.
    labels = np.unique(answers.truth)
    return float(recall_score(answers.truth, answers.decided, labels=labels, average="macro"))


def test_is_that_of_scikit_learn() -> None:
    hold(BalancedAccuracy(), "classes", reference)


def test_rare_classes_count_as_much_as_frequent_ones() -> None:
    truth, decided = np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0])
    answers = Answers("classes", truth, np.eye(2)[decided], decided, ("a", "b"))
    assert BalancedAccuracy().find_value(answers) == 0.5
