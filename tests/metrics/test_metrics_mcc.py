"""Mcc against scikit-learn on 200 random cases, and by hand."""

from __future__ import annotations

import numpy as np
from metric_cases import hold
from sklearn.metrics import matthews_corrcoef

from mmx.metrics import Answers
from mmx.metrics.mcc import Mcc


def test_is_that_of_scikit_learn() -> None:
    hold(Mcc(), "classes", lambda answers: matthews_corrcoef(answers.truth, answers.decided))


def test_is_0_for_one_answer_and_undefined_for_one_class() -> None:
    truth, decided = np.array([0, 1, 1]), np.array([1, 1, 1])
    answers = Answers("classes", truth, np.eye(2)[decided], decided, ("a", "b"))
    assert Mcc().find_value(answers) == 0
    assert np.isnan(Mcc().find_value(answers.take(np.array([1, 2]))))
    assert np.isnan(Mcc().resample(Mcc().keep(answers), np.array([[0, 1, 2]])))
