"""Mape against scikit-learn on 200 random cases, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from metric_cases import hold
from sklearn.metrics import mean_absolute_percentage_error

from mmx.metrics import Answers
from mmx.metrics.mape import Mape


def test_is_that_of_scikit_learn() -> None:
    hold(
        Mape(),
        "regression",
        lambda answers: mean_absolute_percentage_error(answers.truth, answers.scores),
    )


def test_two_rows_by_hand() -> None:
    truth, found = np.array([2.0, 4.0]), np.array([3.0, 6.0])
    answers = Answers("regression", truth, found, found)
    assert Mape().find_value(answers) == pytest.approx(0.5)
    assert Mape().lower_is_better is True


def test_is_undefined_where_the_truth_is_0() -> None:
    truth = np.array([0.0, 4.0])
    answers = Answers("regression", truth, truth + 1, truth + 1)
    assert "1 of 2 true values are 0" in Mape().explain_undefined(answers)
    assert np.isnan(Mape().find_value(answers))
