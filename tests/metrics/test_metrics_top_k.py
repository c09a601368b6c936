"""TopK against scikit-learn on 200 random cases, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from metric_cases import hold, make_answers
from sklearn.metrics import top_k_accuracy_score

from mmx.metrics import Answers
from mmx.metrics.top_k import TopK


@pytest.mark.parametrize("k", [1, 2, 4])
def test_is_that_of_scikit_learn(k: int) -> None:
    def reference(answers: Answers) -> float:
        labels = np.arange(len(answers.classes))
        return float(top_k_accuracy_score(answers.truth, answers.scores, k=k, labels=labels))

    hold(TopK(k=k), "classes", reference, classes=5)


def test_is_undefined_where_it_would_always_be_right() -> None:
    metric, answers = TopK(k=3), make_answers(0, "classes", classes=3)
    assert metric.name == "top_3"
    assert "3 most probable of 3" in metric.explain_undefined(answers)
    assert np.isnan(metric.find_value(answers))


def test_the_most_probable_of_two_classes_is_the_answer() -> None:
    hold(TopK(k=1), "classes", lambda a: float((a.decided == a.truth).mean()), classes=2)
