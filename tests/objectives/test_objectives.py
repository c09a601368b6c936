"""Losses against values worked out by hand."""

from __future__ import annotations

from math import exp, log
from typing import Any

import pytest
import torch
from refusals import check_error

from mmx.objectives import ModelOutput
from mmx.objectives.binary_cross_entropy import BinaryCrossEntropy
from mmx.objectives.cross_entropy import CrossEntropy
from mmx.objectives.focal import Focal
from mmx.objectives.mean_squared_error import MeanSquaredError
from mmx.objectives.unimodal import Unimodal

LOGITS = torch.tensor([[log(3.0), 0.0, 0.0], [0.0, 0.0, log(2.0)]])  # (3, 1, 1)/5, (1, 1, 2)/4
LABELS = torch.tensor([0, 1])
TRAIN = torch.tensor([0, 0, 0, 1])  # class 2 has no row


def test_cross_entropy() -> None:
    loss = CrossEntropy().bind(TRAIN, 3, {})
    assert loss.task_loss(LOGITS, LABELS).item() == pytest.approx((log(5 / 3) + log(4)) / 2)


def test_cross_entropy_smoothed() -> None:
    loss = CrossEntropy(label_smoothing=0.3).bind(TRAIN, 3, {})
    first = 0.7 * log(5 / 3) + 0.1 * (log(5 / 3) + 2 * log(5))
    second = 0.7 * log(4) + 0.1 * (2 * log(4) + log(2))
    assert loss.task_loss(LOGITS, LABELS).item() == pytest.approx((first + second) / 2)


def test_cross_entropy_at_a_temperature() -> None:
    loss = CrossEntropy(temperature=0.5).bind(TRAIN, 3, {})  # odds (9, 1, 1), (1, 1, 4)
    expected = (log(11 / 9) + log(6)) / 2
    assert loss.task_loss(LOGITS, LABELS).item() == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_focal(gamma: float) -> None:
    loss = Focal(gamma=gamma).bind(TRAIN, 3, {})  # p = 3/5 and 1/4
    expected = (0.4**gamma * log(5 / 3) + 0.75**gamma * log(4)) / 2
    assert loss.task_loss(LOGITS, LABELS).item() == pytest.approx(expected)


def test_focal_weighted() -> None:
    loss = Focal(gamma=1.0, class_weights=[1.0, 3.0, 1.0]).bind(TRAIN, 3, {})
    expected = (0.4 * log(5 / 3) + 3 * 0.75 * log(4)) / 4
    assert loss.task_loss(LOGITS, LABELS).item() == pytest.approx(expected)


@pytest.mark.parametrize("weights", ["none", "balanced", [1.0, 2.0, 3.0]])
def test_focal_without_gamma_is_cross_entropy(weights: Any) -> None:
    plain = CrossEntropy(class_weights=weights).bind(TRAIN, 3, {})
    focal = Focal(gamma=0.0, class_weights=weights).bind(TRAIN, 3, {})
    one, two = (loss.task_loss(LOGITS, LABELS) for loss in (plain, focal))
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_of_what_is_certain_has_a_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    loss = Focal(gamma=gamma).bind(TRAIN, 2, {}).task_loss(logits, torch.tensor([0, 0]))
    assert loss.item() == pytest.approx(100.0)  # 0 for the one, 200 for the other
    loss.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.0, 0.0], [-0.5, 0.5]]))


def test_cross_entropy_balanced() -> None:
    loss = CrossEntropy(class_weights="balanced").bind(TRAIN, 3, {})
    first, second = 4 / (3 * 3), 4 / (3 * 1)
    expected = (first * log(5 / 3) + second * log(4)) / (first + second)
    assert loss.task_loss(LOGITS, LABELS).item() == pytest.approx(expected)


def test_a_class_without_training_rows_weighs_one() -> None:
    loss = CrossEntropy(class_weights="balanced").bind(TRAIN, 3, {})
    expected = (4 / 9 * log(5 / 3) + 1 * log(2)) / (4 / 9 + 1)
    assert loss.task_loss(LOGITS, torch.tensor([0, 2])).item() == pytest.approx(expected)


def test_cross_entropy_weighted() -> None:
    loss = CrossEntropy(class_weights=[1.0, 3.0, 1.0]).bind(TRAIN, 3, {})
    assert loss.task_loss(LOGITS, LABELS).item() == pytest.approx((log(5 / 3) + 3 * log(4)) / 4)


@pytest.mark.parametrize("kind", [CrossEntropy, Focal])
def test_class_weights_of_another_task(kind: Any) -> None:
    with pytest.raises(ValueError, match="class_weights") as error:
        kind(class_weights=[1.0, 3.0]).bind(TRAIN, 3, {})
    check_error(error.value, "class_weights", "2 numbers", "3 classes", "classes")


def test_binary_cross_entropy() -> None:
    logits = torch.tensor([[0.0, log(3.0)], [log(3.0), 0.0]])
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    losses = [log(2), log(4), log(4 / 3), log(2)]
    loss = BinaryCrossEntropy().bind(labels, 2, {})
    assert loss.task_loss(logits, labels).item() == pytest.approx(sum(losses) / 4)


def test_binary_cross_entropy_balanced() -> None:
    train = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    loss = BinaryCrossEntropy(positive_weight="balanced").bind(train, 2, {})
    # 3 negatives for 1 positive; the second label is always positive, which tells nothing
    value = loss.task_loss(torch.zeros(1, 2), torch.ones(1, 2)).item()
    assert value == pytest.approx((3 * log(2) + 1 * log(2)) / 2)


def test_mean_squared_error() -> None:
    loss = MeanSquaredError().bind(torch.zeros(4), 1, {})
    assert loss.task_loss(torch.tensor([[1.0], [4.0]]), torch.tensor([0.0, 1.0])).item() == 5.0


def test_regression_has_one_output() -> None:
    with pytest.raises(ValueError, match="one output") as error:
        MeanSquaredError().bind(torch.zeros(4), 3, {})
    check_error(error.value, "regression", "one output", "3")


def test_losses_are_float32_whatever_the_model_runs_in() -> None:
    half = LOGITS.bfloat16()
    assert (
        CrossEntropy(class_weights="balanced").bind(TRAIN, 3, {}).task_loss(half, LABELS).dtype
        == torch.float32
    )
    labels = torch.ones(2, 3)
    assert BinaryCrossEntropy().bind(labels, 3, {}).task_loss(half, labels).dtype == torch.float32
    assert (
        MeanSquaredError().bind(labels, 1, {}).task_loss(half[:, :1], labels[:, 0]).dtype
        == torch.float32
    )


def test_gradient_of_cross_entropy_is_probability_minus_label() -> None:
    logits = LOGITS.clone().requires_grad_()
    CrossEntropy().bind(TRAIN, 3, {}).task_loss(logits, LABELS).backward()
    odds = torch.tensor([[exp(log(3.0)), 1, 1], [1, 1, 2]])
    expected = (odds / odds.sum(1, keepdim=True) - torch.eye(3)[LABELS]) / 2
    torch.testing.assert_close(logits.grad, expected)


def test_with_class_weights() -> None:
    plain = CrossEntropy(label_smoothing=0.1, temperature=2.0)
    changed = plain.with_class_weights()
    assert vars(changed) == {**vars(plain), "class_weights": "balanced"}
    assert plain.class_weights == "none"
    assert vars(changed.with_class_weights()) == vars(changed)
    focal = Focal(gamma=3.0).with_class_weights()
    assert vars(focal) == {"gamma": 3.0, "class_weights": "balanced"}


@pytest.mark.parametrize("kind", [CrossEntropy, Focal])
def test_class_weights_are_not_given_twice(kind: Any) -> None:
    with pytest.raises(ValueError, match="balanced") as error:
        kind(class_weights=[1.0, 2.0]).with_class_weights()
    check_error(error.value, "class_weights", "1.0", "2.0")


def test_what_cannot_be_balanced() -> None:
    with pytest.raises(ValueError, match="no class weights") as error:
        MeanSquaredError().with_class_weights()
    check_error(error.value, "mean_squared_error", "cross_entropy and focal", "combined", "terms")


def test_unimodal() -> None:
    """Modalities count alike, however few rows have them; one that nobody has does not."""
    criterion = Unimodal().bind(TRAIN, 3, {"image": 3, "audio": 3, "text": 3})
    for head in criterion.heads.values():
        torch.nn.init.eye_(head.weight)
        torch.nn.init.zeros_(head.bias)
    nothing = torch.full((2, 3), torch.nan)
    present = {"image": [True, True], "audio": [False, True], "text": [False, False]}
    said = ModelOutput(
        torch.zeros(2, 3),
        {"image": LOGITS, "audio": torch.zeros(2, 3), "text": nothing},
        {name: torch.tensor(here) for name, here in present.items()},
    )
    image, audio = (log(5 / 3) + log(4)) / 2, log(3)
    assert criterion(said, LABELS).item() == pytest.approx((image + audio) / 2)
