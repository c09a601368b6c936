"""Auroc against scikit-learn on 200 random cases, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from metric_cases import hold, make_answers, spoil, without
from sklearn.metrics import roc_auc_score

from mmx.metrics import Answers
from mmx.metrics.auroc import Auroc


def reference(answers: Answers, average: str) -> float:
    if answers.kind == "multilabel":
        return float(roc_auc_score(answers.truth, answers.scores, average=average))
    labels = np.arange(len(answers.classes))
    if len(labels) == 2:
        return float(roc_auc_score(answers.truth, answers.scores[:, 1]))
    return float(
        roc_auc_score(
            answers.truth, answers.scores, multi_class="ovr", average=average, labels=labels
        )
    )


@pytest.mark.parametrize("kind", ["classes", "multilabel"])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_is_that_of_scikit_learn(kind: str, average: str) -> None:
    hold(Auroc(average=average), kind, lambda a: reference(a, average))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["classes", "multilabel"])
def test_is_undefined_where_a_class_has_no_row(kind: str) -> None:
    answers = without(make_answers(4, kind, classes=3), 1)
    assert "'b'" in Auroc().explain_undefined(answers)
    assert np.isnan(Auroc().find_value(answers))


def test_in_a_resample_a_class_without_rows_is_left_out() -> None:
    answers = make_answers(4, "classes", classes=3)
    weights = (answers.truth != 1).astype(int)
    left = without(answers, 1)
    each = [roc_auc_score(left.truth == c, left.scores[:, c]) for c in (0, 2)]
    assert Auroc().resample(Auroc().keep(answers), weights[None])[0] == pytest.approx(np.mean(each))
    alone = (answers.truth == 1).astype(int)
    assert np.isnan(Auroc().resample(Auroc().keep(answers), alone[None])[0])


def test_scores_that_are_no_numbers_have_no_value() -> None:
    assert np.isnan(Auroc().find_value(spoil(make_answers(1, "classes"))))
