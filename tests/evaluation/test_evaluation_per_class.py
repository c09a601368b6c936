from __future__ import annotations

import json

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from mmx.evaluation.metrics import measure
from mmx.evaluation.per_class import report_classes
from mmx.tasks import Target

FOUR = Target("classes", ("a", "b", "c", "d"))


def logits(decided: list[int], classes: int) -> torch.Tensor:
    return torch.eye(classes)[torch.tensor(decided)]


def test_classes_by_hand_with_one_that_does_not_occur_and_one_never_predicted() -> None:
    values = torch.tensor([0, 0, 0, 0, 1, 2])
    found = report_classes(logits([0, 0, 0, 3, 0, 2], 4), values, FOUR)
    assert found == {
        "balanced_accuracy": pytest.approx((3 / 4 + 0 + 1) / 3),  # d does not occur
        "f1_macro": pytest.approx((3 / 4 + 0 + 1 + 0) / 4),
        "classes": {
            "a": {"recall": 0.75, "precision": 0.75, "support": 4},
            "b": {"recall": 0.0, "precision": None, "support": 1},
            "c": {"recall": 1.0, "precision": 1.0, "support": 1},
            "d": {"recall": None, "precision": 0.0, "support": 0},
        },
        "confusion": [[3, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]],
    }
    assert json.loads(json.dumps(found)) == found


def test_classes_equal_scikit_learn_and_the_metrics() -> None:
    torch.manual_seed(0)
    outputs, values = torch.randn(80, 4), torch.randint(0, 4, (80,))
    found = report_classes(outputs, values, FOUR)
    decided = outputs.argmax(1)
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(values, decided))
    metrics = measure(outputs, values, FOUR, lambda o, v: o.sum())
    assert found["f1_macro"] == metrics["f1_macro"]
    for index, each in enumerate(found["classes"].values()):
        here, said = values == index, decided == index
        assert each["support"] == int(here.sum())
        assert each["recall"] == pytest.approx(float((here & said).sum() / here.sum()))
        assert each["precision"] == pytest.approx(float((here & said).sum() / said.sum()))
        assert sum(found["confusion"][index]) == each["support"]


def test_a_constant_answer_has_chance_balanced_accuracy() -> None:
    values = torch.tensor([0] * 97 + [1, 2, 3])
    found = report_classes(logits([0] * 100, 4), values, FOUR)
    assert found["balanced_accuracy"] == 0.25


def test_labels_by_hand() -> None:
    target = Target("multilabel", ("x", "y", "always"))
    values = torch.tensor([[1.0, 0, 1], [1, 1, 1], [0, 0, 1], [1, 0, 1]])
    outputs = torch.tensor([[9.0, 9, 9], [-9, 9, 9], [-9, -9, 9], [9, -9, -9]])
    found = report_classes(outputs, values, target)
    # x: yes 2/3, no 1; y: yes 1, no 2/3; always: yes 3/4, no does not occur
    assert found["balanced_accuracy"] == pytest.approx((5 / 6 + 5 / 6 + 3 / 4) / 3)
    assert found["classes"]["x"] == {
        "recall": pytest.approx(2 / 3),
        "precision": 1.0,
        "support": 3,
    }
    assert found["classes"]["y"] == {"recall": 1.0, "precision": 0.5, "support": 1}
    assert found["confusion"] == [[[1, 0], [1, 2]], [[2, 1], [0, 1]], [[0, 0], [1, 3]]]


def test_one_class() -> None:
    found = report_classes(torch.zeros(3, 1), torch.zeros(3).long(), Target("classes", ("only",)))
    assert found["balanced_accuracy"] == 1
    assert found["confusion"] == [[3]]


def test_numbers_have_no_classes() -> None:
    with pytest.raises(ValueError, match=r"^a report on classes needs classes or labels, not reg"):
        report_classes(torch.zeros(3, 1), torch.zeros(3), Target("regression"))
