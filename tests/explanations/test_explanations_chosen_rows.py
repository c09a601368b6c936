"""The rows worth a look: most confident errors first, then right answers of several classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmx.explanations.chosen_rows import choose_rows, judge_rows
from mmx.tasks import Target

ABC = ("a", "b", "c")


def test_errors_come_by_confidence_then_right_answers_of_different_classes():
    outputs = torch.tensor(
        [[3.0, 0, 0], [0, 9, 0], [5, 0, 0], [8, 0, 0], [0, 1, 0], [0, 0, 2], [7, 0, 0]]
    )
    values = torch.tensor([1, 1, 2, 0, 0, 2, 0])
    rows = np.arange(10, 17)
    judged = judge_rows(outputs, values, Target("classes", ABC), rows)
    chosen = choose_rows(judged, errors=2, right=2)
    assert [(each.row, each.right, each.output) for each in chosen] == [
        (12, False, 0),  # more confident than row 10, which is wrong too; row 14 is least sure
        (10, False, 0),
        (11, True, 1),
        (13, True, 0),  # row 16 is right with the same class
    ]
    sure = float(torch.tensor([5.0, 0, 0]).double().softmax(0)[0])
    assert chosen[0].confidence == pytest.approx(sure)
    assert chosen[0].place == 2


def test_of_labels_the_one_that_is_most_confidently_wrong_is_explained():
    outputs = torch.tensor([[4.0, -6.0, 1.0], [2.0, -3.0, -3.0]])
    values = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    wrong, right = judge_rows(outputs, values, Target("multilabel", ABC), np.arange(2))
    assert (wrong.right, wrong.output) == (False, 1)
    assert wrong.confidence == pytest.approx(float(torch.tensor(6.0).double().sigmoid()))
    assert (right.right, right.output) == (True, 0)


def test_of_numbers_the_farthest_and_the_nearest():
    target = Target("regression", mean=1.0, std=2.0)
    outputs = torch.tensor([[0.0], [1.0], [2.0], [3.0]])  # 1, 3, 5, 7
    values = torch.tensor([1.5, 3.0, 9.0, 6.0])
    judged = judge_rows(outputs, values, target, np.arange(4))
    chosen = choose_rows(judged, errors=2, right=1)
    assert [(each.row, each.right, each.confidence) for each in chosen] == [
        (2, None, 4.0),
        (3, None, 1.0),
        (1, None, 0.0),
    ]


def test_without_an_error_right_answers_are_left():
    outputs = torch.eye(3) * 4
    judged = judge_rows(outputs, torch.arange(3), Target("classes", ABC), np.arange(3))
    assert [each.right for each in choose_rows(judged)] == [True, True, True]
