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


@pytest.mark.parametrize("number", [0.1, 0.3, 2.7, 1e9 + 0.1])
@pytest.mark.parametrize("rows", [3, 7, 10])
def test_equal_numbers_have_no_spread_whatever_rounds(number: float, rows: int) -> None:
    truth = np.full(rows, number)
    wrong = Answers("regression", truth, truth + 0.1, truth + 0.1)
    for answers, expected in ((wrong, 0.0), (Answers("regression", truth, truth, truth), 1.0)):
        assert R2().find_value(answers) == expected
        whole = np.ones((1, rows), dtype=int)
        assert R2().resample(R2().keep(answers), whole).tolist() == [expected]


def test_a_resample_of_equal_numbers_has_no_spread() -> None:
    random = np.random.default_rng(0)
    truth = np.r_[np.full(10, 0.3), 1.7, 2.9]
    found = truth + 0.3 * random.normal(size=12)
    answers = Answers("regression", truth, found, found)
    weights = random.multinomial(12, np.full(12, 1 / 12), size=500)
    values = R2().resample(R2().keep(answers), weights)
    equal = weights[:, 10:].sum(1) == 0
    assert equal.sum() > 30
    assert (values[equal] == 0).all()
    drawn = [np.repeat(np.arange(12), each) for each in weights[~equal]]
    expected = [r2_score(truth[rows], found[rows]) for rows in drawn]
    np.testing.assert_allclose(values[~equal], expected, rtol=1e-9)
