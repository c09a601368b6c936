"""Rmse against scikit-learn on 200 random cases, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from metric_cases import hold
from sklearn.metrics import root_mean_squared_error

from mmx.metrics import Answers
from mmx.metrics.rmse import Rmse


def test_is_that_of_scikit_learn() -> None:
    hold(
        Rmse(), "regression", lambda answers: root_mean_squared_error(answers.truth, answers.scores)
    )


def test_two_rows_by_hand() -> None:
    truth, found = np.array([2.0, 4.0]), np.array([3.0, 6.0])
    answers = Answers("regression", truth, found, found)
    assert Rmse().find_value(answers) == pytest.approx(1.5811388300841898)
    assert Rmse().lower_is_better is True
