"""F1 against scikit-learn on 200 random cases, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from metric_cases import hold
from sklearn.metrics import f1_score

from mmx.metrics import Answers
from mmx.metrics.f1 import F1


@pytest.mark.parametrize("kind", ["classes", "multilabel"])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_is_that_of_scikit_learn(kind: str, average: str) -> None:
    def reference(answers: Answers) -> float:
        if answers.truth.shape[1:] == (1,):  # which scikit-learn takes for two classes
            return float(f1_score(answers.truth[:, 0], answers.decided[:, 0], zero_division=0))
        return float(f1_score(answers.truth, answers.decided, average=average, zero_division=0))

    hold(F1(average=average), kind, reference)  # type: ignore[arg-type]


def test_classes_that_are_neither_true_nor_predicted_do_not_count_but_labels_do() -> None:
    chosen = np.array([0, 1, 1])
    of_classes = Answers("classes", chosen, np.eye(3)[chosen], chosen, ("a", "b", "c"))
    assert F1().find_value(of_classes) == 1
    marks = np.eye(3, dtype=np.int64)[chosen]
    of_labels = Answers("multilabel", marks, marks.astype(float), marks, ("a", "b", "c"))
    assert F1().find_value(of_labels) == pytest.approx(2 / 3)
