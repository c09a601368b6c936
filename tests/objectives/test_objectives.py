"""Losses against values worked out by hand."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from mmx.objectives.binary_cross_entropy import BinaryCrossEntropy
from mmx.objectives.cross_entropy import CrossEntropy
from mmx.objectives.mean_squared_error import MeanSquaredError

LOGITS = torch.tensor([[log(3.0), 0.0, 0.0], [0.0, 0.0, log(2.0)]])  # (3, 1, 1)/5, (1, 1, 2)/4
LABELS = torch.tensor([0, 1])
TRAIN = torch.tensor([0, 0, 0, 1])  # class 2 has no row


def test_cross_entropy() -> None:
    loss = CrossEntropy().bind(TRAIN, 3)
    assert loss(LOGITS, LABELS).item() == pytest.approx((log(5 / 3) + log(4)) / 2)


def test_cross_entropy_smoothed() -> None:
    loss = CrossEntropy(label_smoothing=0.3).bind(TRAIN, 3)
    first = 0.7 * log(5 / 3) + 0.1 * (log(5 / 3) + 2 * log(5))
    second = 0.7 * log(4) + 0.1 * (2 * log(4) + log(2))
    assert loss(LOGITS, LABELS).item() == pytest.approx((first + second) / 2)


def test_cross_entropy_balanced() -> None:
    loss = CrossEntropy(class_weights="balanced").bind(TRAIN, 3)
    first, second = 4 / (3 * 3), 4 / (3 * 1)
    expected = (first * log(5 / 3) + second * log(4)) / (first + second)
    assert loss(LOGITS, LABELS).item() == pytest.approx(expected)


def test_a_class_without_training_rows_weighs_one() -> None:
    loss = CrossEntropy(class_weights="balanced").bind(TRAIN, 3)
    expected = (4 / 9 * log(5 / 3) + 1 * log(2)) / (4 / 9 + 1)
    assert loss(LOGITS, torch.tensor([0, 2])).item() == pytest.approx(expected)


def test_cross_entropy_weighted() -> None:
    loss = CrossEntropy(class_weights=[1.0, 3.0, 1.0]).bind(TRAIN, 3)
    assert loss(LOGITS, LABELS).item() == pytest.approx((log(5 / 3) + 3 * log(4)) / 4)


def test_class_weights_of_another_task() -> None:
    with pytest.raises(ValueError, match="class_weights") as error:
        CrossEntropy(class_weights=[1.0, 3.0]).bind(TRAIN, 3)
    assert str(error.value) == "`class_weights` has 2 numbers; the task has 3 classes"


def test_binary_cross_entropy() -> None:
    logits = torch.tensor([[0.0, log(3.0)], [log(3.0), 0.0]])
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    losses = [log(2), log(4), log(4 / 3), log(2)]
    loss = BinaryCrossEntropy().bind(labels, 2)
    assert loss(logits, labels).item() == pytest.approx(sum(losses) / 4)


def test_binary_cross_entropy_balanced() -> None:
    train = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    loss = BinaryCrossEntropy(positive_weight="balanced").bind(train, 2)
    # 3 negatives for 1 positive; the second label is always positive, which tells nothing
    value = loss(torch.zeros(1, 2), torch.ones(1, 2)).item()
    assert value == pytest.approx((3 * log(2) + 1 * log(2)) / 2)


def test_mean_squared_error() -> None:
    loss = MeanSquaredError().bind(torch.zeros(4), 1)
    assert loss(torch.tensor([[1.0], [4.0]]), torch.tensor([0.0, 1.0])).item() == 5.0


def test_regression_has_one_output() -> None:
    with pytest.raises(ValueError, match="one output") as error:
        MeanSquaredError().bind(torch.zeros(4), 3)
    assert str(error.value) == "regression has one output a row, not 3"


def test_losses_are_float32_whatever_the_model_runs_in() -> None:
    half = LOGITS.bfloat16()
    assert (
        CrossEntropy(class_weights="balanced").bind(TRAIN, 3)(half, LABELS).dtype == torch.float32
    )
    labels = torch.ones(2, 3)
    assert BinaryCrossEntropy().bind(labels, 3)(half, labels).dtype == torch.float32
    assert MeanSquaredError().bind(labels, 1)(half[:, :1], labels[:, 0]).dtype == torch.float32


def test_gradient_of_cross_entropy_is_probability_minus_label() -> None:
    logits = LOGITS.clone().requires_grad_()
    CrossEntropy().bind(TRAIN, 3)(logits, LABELS).backward()
    odds = torch.tensor([[exp(log(3.0)), 1, 1], [1, 1, 2]])
    expected = (odds / odds.sum(1, keepdim=True) - torch.eye(3)[LABELS]) / 2
    torch.testing.assert_close(logits.grad, expected)
