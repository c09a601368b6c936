"""CohenKappa against scikit-learn on 200 random cases, and by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from metric_cases import hold
from sklearn.metrics import cohen_kappa_score

from mmx.metrics import Answers
from mmx.metrics.cohen_kappa import CohenKappa


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_is_that_of_scikit_learn(weights: str) -> None:
    def reference(answers: Answers) -> float:
        labels, how = np.arange(len(answers.classes)), None if weights == "none" else weights
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(
                cohen_kappa_score(answers.truth, answers.decided, labels=labels, weights=how)
            )

    hold(CohenKappa(weights=weights), "classes", reference)  # type: ignore[arg-type]


def test_is_0_for_one_answer_and_undefined_for_one_class() -> None:
    truth, decided = np.array([0, 1, 1]), np.array([1, 1, 1])
    answers = Answers("classes", truth, np.eye(2)[decided], decided, ("a", "b"))
    assert CohenKappa().find_value(answers) == 0
    alone = answers.take(np.array([1, 2]))
    assert "'b'" in CohenKappa().explain_undefined(alone)
    assert np.isnan(CohenKappa().find_value(alone))
    assert np.isnan(CohenKappa().resample(CohenKappa().keep(answers), np.array([[0, 1, 2]])))


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_sums_of_all_rows_or_of_many_draws_give_its_value(weights: str) -> None:
    truth, decided = np.array([0, 1, 1, 2, 2]), np.array([1, 1, 1, 2, 0])
    answers = Answers("classes", truth, np.eye(3)[decided], decided, ("a", "b", "c"))
    kappa = CohenKappa(weights=weights)  # type: ignore[arg-type]
    sums = kappa.keep(answers).sum(0)
    assert kappa.of_sums(sums, 5) == pytest.approx(kappa.measure(answers))
    assert kappa.of_sums(np.stack([sums] * 7)[None], 5).shape == (1, 7)
