"""Mse against scikit-learn on 200 random cases, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from metric_cases import hold
from sklearn.metrics import mean_squared_error

from mmx.metrics import Answers
from mmx.metrics.mse import Mse


def test_is_that_of_scikit_learn() -> None:
    hold(Mse(), "regression", lambda answers: mean_squared_error(answers.truth, answers.scores))


def test_two_rows_by_hand() -> None:
    truth, found = np.array([2.0, 4.0]), np.array([3.0, 6.0])
    answers = Answers("regression", truth, found, found)
    assert Mse().find_value(answers) == pytest.approx(2.5)
    assert Mse().lower_is_better is True
