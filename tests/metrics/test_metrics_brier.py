"""Brier against scikit-learn on 200 random cases, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from metric_cases import hold
from sklearn.metrics import brier_score_loss

from mmx.metrics import Answers
from mmx.metrics.brier import Brier


def of_classes(answers: Answers) -> float:
    labels = np.arange(len(answers.classes))
    scores = answers.scores[:, 1] if len(labels) == 2 else answers.scores
    return float(brier_score_loss(answers.truth, scores, labels=labels))


def of_labels(answers: Answers) -> float:
    columns = zip(answers.truth.T, answers.scores.T, strict=True)
    return float(np.mean([brier_score_loss(y, p, labels=[0, 1]) for y, p in columns]))


@pytest.mark.parametrize("reference", [of_classes, of_labels])
def test_is_that_of_scikit_learn(reference: object) -> None:
    hold(Brier(), "classes" if reference is of_classes else "multilabel", reference)  # type: ignore[arg-type]


def test_lower_is_better() -> None:
    assert Brier().sign == -1
