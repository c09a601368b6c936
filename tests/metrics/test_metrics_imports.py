"""Metrics of classes and labels are scikit-learn's numbers, bit for bit, without its import."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics as sk
from metric_cases import make_answers

from mmx.metrics import Answers, Metric
from mmx.metrics.auroc import Auroc
from mmx.metrics.average_precision import AveragePrecision
from mmx.metrics.brier import Brier
from mmx.metrics.f1 import F1
from mmx.metrics.mape import Mape
from mmx.metrics.r2 import R2
from mmx.metrics.rmse import Rmse

AVERAGES = ("macro", "micro", "weighted")

MEASURE = """
import sys
import torch
from mmx.evaluation.every_metric import measure_every, measure_labels
from mmx.evaluation.metrics import measure
from mmx.evaluation.per_class import report_classes
from mmx.tasks import Target

torch.manual_seed(0)
outputs = torch.randn(42, 7)
classes, labels = torch.arange(42) % 7, (torch.randn(42, 7) > 0).float()
for kind, values in (("classes", classes), ("multilabel", labels)):
    target = Target(kind, tuple("abcdefg"))
    found = measure_every(outputs, values, target)
    assert len(found) > 5 and None not in found.values(), found
    measure_labels(outputs, values, target)
    report_classes(outputs, values, target)
    measure(outputs, values, target, lambda outputs, values: outputs.sum())
measure(outputs[:, :1], outputs[:, 1], Target("regression", std=2.0), lambda x, y: x.sum())
print(sorted({"sklearn", "scipy"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_a_run_measures_without_importing_scikit_learn() -> None:
    """Its import takes longer than a small run trains."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def find_reference(metric: Metric, answers: Answers) -> float:
    """Return scikit-learn's value."""
    if isinstance(metric, F1):
        given = answers.truth, answers.decided
        return float(sk.f1_score(*given, average=metric.average, zero_division=0))
    if isinstance(metric, Brier):
        return float(sk.mean_squared_error(answers.labels, answers.scores))
    first = 1 if answers.kind == "classes" and len(answers.classes) == 2 else 0
    scores, labels = answers.scores[:, first:], answers.labels[:, first:]
    measure = sk.roc_auc_score if isinstance(metric, Auroc) else sk.average_precision_score
    if scores.shape[1] == 1:
        return float(measure(labels[:, 0], scores[:, 0]))
    assert isinstance(metric, (Auroc, AveragePrecision))
    return float(measure(labels, scores, average=metric.average))


@pytest.mark.parametrize("kind", ["classes", "multilabel"])
@pytest.mark.parametrize("metric", [Auroc(), AveragePrecision(), F1()], ids=lambda each: each.name)
def test_averages_are_those_of_scikit_learn_to_the_last_bit(
    metric: Auroc | AveragePrecision | F1, kind: str
) -> None:
    for seed in range(12):
        answers = make_answers(seed, kind)
        for average in AVERAGES:
            own = replace(metric, average=average)  # type: ignore[arg-type]
            assert own.find_value(answers) == find_reference(own, answers)


def test_brier_is_that_of_scikit_learn_to_the_last_bit() -> None:
    for seed in range(12):
        answers = make_answers(seed, "multilabel")
        assert Brier().find_value(answers) == find_reference(Brier(), answers)


def test_errors_of_numbers_are_those_of_scikit_learn_to_the_last_bit() -> None:
    for seed in range(12):
        answers = make_answers(seed, "regression")
        given = answers.truth, answers.scores
        assert R2().find_value(answers) == sk.r2_score(*given)
        assert Rmse().find_value(answers) == sk.root_mean_squared_error(*given)
        assert Mape().find_value(answers) == sk.mean_absolute_percentage_error(*given)


def test_labels_that_no_row_has_and_none_is_given_count_as_0_in_f1() -> None:
    truth = np.array([[1, 0], [0, 0], [1, 0]])
    answers = Answers("multilabel", truth, truth.astype(np.float64), truth, ("a", "b"))
    assert F1().measure(answers) == 0.5
    none = Answers("multilabel", truth * 0, truth * 0.0, truth * 0, ("a", "b"))
    assert [F1(average=each).measure(none) for each in AVERAGES] == [0, 0, 0]  # type: ignore[arg-type]
