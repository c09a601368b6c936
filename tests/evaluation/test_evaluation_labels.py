"""Metrics of each label alone are those of scikit-learn for that label, not for its absence too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from mmx.evaluation.every_metric import find_intervals, measure_every, measure_labels
from mmx.evaluation.metrics import measure_f1_of_labels
from mmx.reports.report_charts import draw_labels, list_label_metrics
from mmx.tasks import Target

NAMES = ("sea", "sky", "city")


def make(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, Target]:
    """Return outputs, labels and the target of 60 rows."""
    random = np.random.default_rng(seed)
    truth = (random.random((60, count)) < [0.2, 0.5, 0.7][:count]).astype(np.float32)
    outputs = random.normal(size=truth.shape) + truth
    return torch.from_numpy(outputs), torch.from_numpy(truth), Target("multilabel", NAMES[:count])


@pytest.mark.parametrize("count", [1, 3])
def test_labels_have_the_values_of_scikit_learn(count):
    outputs, truth, target = make(count)
    found = measure_labels(outputs, truth, target)
    assert list(found) == list(target.classes)
    for place, name in enumerate(target.classes):
        true, score = truth[:, place].numpy(), outputs[:, place].sigmoid().numpy()
        assert found[name] == pytest.approx(
            {
                "support": true.sum(),
                "precision": sk.precision_score(true, score > 0.5),
                "recall": sk.recall_score(true, score > 0.5),
                "accuracy": sk.accuracy_score(true, score > 0.5),
                "f1": sk.f1_score(true, score > 0.5),
                "auroc": sk.roc_auc_score(true, score),
                "average_precision": sk.average_precision_score(true, score),
            }
        )


def test_precision_and_recall_are_none_where_nothing_is_counted():
    outputs, truth, target = make(2)
    outputs[:, 0], truth[:, 1] = -1.0, 0.0  # never predicted; on no row
    found = measure_labels(outputs, truth, target)
    assert (found["sea"]["precision"], found["sea"]["recall"]) == (None, 0.0)
    assert (found["sky"]["precision"], found["sky"]["recall"]) == (0.0, None)


def test_f1_of_one_label_lies_in_its_interval_and_is_that_of_the_label():
    outputs, truth, target = make(1, seed=3)
    wanted = sk.f1_score(truth[:, 0].numpy(), (outputs[:, 0] > 0).numpy())
    every = measure_every(outputs, truth, target)
    assert every["f1_macro"] == every["f1_micro"] == pytest.approx(wanted)
    low, high = find_intervals(outputs, truth, target)["f1_macro"]
    assert low < wanted < high


@pytest.mark.parametrize("seed", range(20))
def test_the_mean_f1_of_labels_is_that_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    truth, decided = random.integers(0, 2, (2, 15, 4))
    truth[:, 0] = decided[:, 0] = 0  # neither true nor predicted: 0
    wanted = sk.f1_score(truth, decided, average="macro", zero_division=0)
    assert measure_f1_of_labels(truth, decided) == pytest.approx(wanted, abs=1e-15)


def test_the_report_has_a_column_of_each_metric_that_the_run_records():
    grid = list_label_metrics(measure_labels(*make(3)))
    assert grid is not None
    names = ("precision", "recall", "F1", "average precision", "AUROC", "accuracy")
    assert grid.columns == ("label", "rows", *names)
    found = [row[4] for row in grid.rows]
    assert found == sorted(found)


def test_the_report_shows_the_label_of_lowest_f1_first():
    found = {
        "sea": {"support": 12.0, "f1": 0.75, "average_precision": 0.5, "auroc": None},
        "sky": {"support": 1200.0, "f1": 0.25, "average_precision": 1.0, "auroc": 0.5},
    }
    grid = list_label_metrics(found)
    assert grid is not None
    assert grid.columns == ("label", "rows", "F1", "average precision", "AUROC")
    assert grid.rows[0] == ("sky", "1,200", "0.250", "1.000", "0.500")
    assert grid.rows[1] == ("sea", "12", "0.750", "0.500", "–")
    chart = draw_labels(found)
    assert chart is not None
    assert chart.title == "Each label, lowest F1 first"
    drawn = [(each["row"], each["kind"], each["x"]) for each in chart.spec["data"]["values"]]
    assert drawn[:2] == [("sky", "F1", 0.25), ("sky", "average precision", 1.0)]
    assert draw_labels({}) is None
