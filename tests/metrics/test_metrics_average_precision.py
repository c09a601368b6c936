"""AveragePrecision against scikit-learn on 200 random cases, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from metric_cases import hold, make_answers, without
from sklearn.metrics import average_precision_score

from mmx.metrics import Answers
from mmx.metrics.average_precision import AveragePrecision


def reference(answers: Answers, average: str) -> float:
    if answers.kind == "classes" and len(answers.classes) == 2:
        return float(average_precision_score(answers.truth, answers.scores[:, 1]))
    return float(average_precision_score(answers.labels, answers.scores, average=average))


@pytest.mark.parametrize("kind", ["classes", "multilabel"])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_is_that_of_scikit_learn(kind: str, average: str) -> None:
    metric = AveragePrecision(average=average)  # type: ignore[arg-type]
    hold(metric, kind, lambda answers: reference(answers, average))


def test_is_undefined_and_not_0_where_a_label_has_no_row() -> None:
    answers = without(make_answers(4, "multilabel", classes=3), 2)
    assert "'c'" in AveragePrecision().explain_undefined(answers)
    assert np.isnan(AveragePrecision().find_value(answers))
