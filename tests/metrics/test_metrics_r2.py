"""R2 against scikit-learn on 200 random cases, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from metric_cases import hold
from sklearn.metrics import r2_score

from mmx.metrics import Answers
from mmx.metrics.r2 import R2


def test_is_that_of_scikit_learn() -> None:
    hold(R2(), "regression", lambda answers: r2_score(answers.truth, answers.scores))


def test_two_rows_by_hand() -> None:
    truth, found = np.array([2.0, 4.0]), np.array([3.0, 6.0])
    answers = Answers("regression", truth, found, found)
    assert R2().find_value(answers) == pytest.approx(-1.5)
    assert R2().lower_is_better is False


def test_is_undefined_for_one_row() -> None:
    answers = Answers("regression", np.ones(1), np.ones(1), np.ones(1))
    assert R2().explain_undefined(answers) == "there is one row"
    assert np.isnan(R2().find_value(answers))
