"""Pearson against scipy on 200 random cases, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from metric_cases import hold
from scipy.stats import pearsonr

from mmx.metrics import Answers
from mmx.metrics.pearson import Pearson


def test_is_that_of_scipy() -> None:
    hold(Pearson(), "regression", lambda answers: pearsonr(answers.truth, answers.scores).statistic)


def test_is_undefined_where_the_truth_is_constant_and_no_number_where_the_answers_are() -> None:
    numbers = np.arange(4.0)
    constant = Answers("regression", np.ones(4), numbers, numbers)
    assert Pearson().explain_undefined(constant) == "every row has the number 1"
    assert np.isnan(Pearson().find_value(constant))
    answers = Answers("regression", numbers, np.ones(4), np.ones(4))
    assert Pearson().explain_undefined(answers) == ""
    assert np.isnan(Pearson().find_value(answers))
    assert np.isnan(Pearson().resample(Pearson().keep(answers), np.ones((1, 4), int)))[0]


def test_a_reversed_order_is_minus_1() -> None:
    numbers = np.arange(5.0)
    answers = Answers("regression", numbers, -numbers, -numbers)
    assert Pearson().find_value(answers) == pytest.approx(-1)


def test_equal_answers_have_no_spread_whatever_rounds() -> None:
    truth, equal = np.arange(7.0), np.full(7, 0.1)  # whose mean is not 0.1
    answers = Answers("regression", truth, equal, equal)
    assert np.isnan(Pearson().resample(Pearson().keep(answers), np.ones((1, 7), int)))[0]
