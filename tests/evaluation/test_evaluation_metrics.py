from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor

from mmx.evaluation.metrics import PRIMARY, decide, make_score, mark_correct, measure
from mmx.evaluation.per_class import report_classes
from mmx.evaluation.predict import predict
from mmx.objectives.binary_cross_entropy import BinaryCrossEntropy
from mmx.objectives.cross_entropy import CrossEntropy
from mmx.objectives.mean_squared_error import MeanSquaredError
from mmx.tasks import Target

CLASSES = Target("classes", ("a", "b", "c"))
LABELS = Target("multilabel", ("x", "y"))
NUMBER = Target("regression", mean=10.0, std=4.0)


def test_classes_by_hand() -> None:
    outputs = torch.tensor([[2.0, 0, 0], [0, 2.0, 0], [0, 2.0, 0], [0, 0, 2.0], [2.0, 0, 0]])
    values = torch.tensor([0, 1, 0, 2, 2])
    found = measure(outputs, values, CLASSES, CrossEntropy().bind(values, 3, {}).task_loss)
    right, wrong = -2 + math.log(math.exp(2) + 2), math.log(math.exp(2) + 2)
    assert found["loss"] == pytest.approx((3 * right + 2 * wrong) / 5)
    assert found["accuracy"] == pytest.approx(3 / 5)
    # a: precision 1/2, recall 1/2; b: 1/2, 1; c: 1, 1/2
    assert found["f1_macro"] == pytest.approx((1 / 2 + 2 / 3 + 2 / 3) / 3)
    assert list(found) == ["loss", "accuracy", "f1_macro"]
    assert mark_correct(outputs, values).tolist() == [1, 1, 0, 1, 0]
    assert decide(outputs, CLASSES).tolist() == [0, 1, 1, 2, 0]


def test_labels_by_hand() -> None:
    outputs = torch.tensor([[3.0, -1.0], [3.0, 1.0], [-1.0, 0.0], [-2.0, 5.0]])
    values = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    found = measure(outputs, values, LABELS, BinaryCrossEntropy().bind(values, 2, {}).task_loss)
    assert decide(outputs, LABELS).tolist() == [[1, 0], [1, 1], [0, 0], [0, 1]]
    assert found["accuracy"] == pytest.approx(2 / 4)  # of whole label sets
    # x: precision 1, recall 2/3; y: precision 1/2, recall 1
    assert found["f1_macro"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    naive = torch.nn.functional.binary_cross_entropy(outputs.sigmoid(), values).item()
    assert found["loss"] == pytest.approx(naive)


def test_numbers_by_hand_in_their_own_unit() -> None:
    outputs, values = torch.tensor([[0.0], [1.0], [-1.0]]), torch.tensor([12.0, 14.0, 10.0])
    found = measure(outputs, values, NUMBER, MeanSquaredError().bind(values, 1, {}).task_loss)
    # predicted 10, 14, 6; the mean of what is true is 12
    assert found == {
        "loss": pytest.approx((0.25 + 0 + 1) / 3),
        "mse": pytest.approx((4 + 0 + 16) / 3),
        "mae": pytest.approx((2 + 0 + 4) / 3),
        "r2": pytest.approx(1 - 20 / 8),
    }
    assert decide(outputs, NUMBER).tolist() == [10.0, 14.0, 6.0]


@pytest.mark.parametrize("mean", [1.7e9, 1.7e12])
def test_large_numbers_are_measured_as_scikit_learn_measures_what_is_predicted(mean) -> None:
    random = np.random.default_rng(0)
    values = torch.from_numpy(np.round(mean + 40 * random.normal(size=30)))
    outputs = torch.from_numpy(random.normal(size=(30, 1)).astype(np.float32))
    target = Target("regression", mean=mean, std=40.0)
    found = measure(outputs, values, target, MeanSquaredError().bind(values, 1, {}).task_loss)
    predicted = [float(f"{value!r}") for value in decide(outputs, target).tolist()]  # as in a CSV
    assert found["mse"] == sk.mean_squared_error(values, predicted)
    assert found["mae"] == sk.mean_absolute_error(values, predicted)
    assert found["r2"] == sk.r2_score(values, predicted)
    by_hand = np.array([mean + 40 * float(z) for z in outputs[:, 0]])
    assert predicted == pytest.approx(by_hand.tolist(), rel=1e-15)
    assert 20 < found["mae"] < 80
    assert found["loss"] == pytest.approx(found["mse"] / 1600, rel=1e-5)


def test_a_single_row_has_no_r2() -> None:
    values = torch.tensor([12.0])
    loss_of = MeanSquaredError().bind(values, 1, {}).task_loss
    found = measure(torch.tensor([[0.0]]), values, NUMBER, loss_of)
    assert found["mse"] == pytest.approx(4)
    assert math.isnan(found["r2"])


def test_outputs_that_are_not_finite_are_measured_as_nan() -> None:
    values = torch.zeros(3)
    outputs = torch.tensor([[0.0], [math.inf], [math.nan]])
    found = measure(outputs, values, NUMBER, MeanSquaredError().bind(values, 1, {}).task_loss)
    assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize("kind", PRIMARY)
def test_selection_takes_the_primary_metric_then_the_loss(kind: str) -> None:
    rank = make_score(kind)
    name = PRIMARY[kind]
    better = {name: 0.8, "loss": 2.0}
    assert rank(better) > rank({name: 0.7, "loss": 0.1})
    assert rank({name: 0.8, "loss": 1.9}) > rank(better)
    assert rank({name: math.nan, "loss": 1.0}) > rank({name: math.nan, "loss": 2.0})


@pytest.mark.parametrize("rows", [[], [3, 1, 36, 0]])
def test_predictions_come_in_the_order_of_the_rows(
    bench: Callable[..., object], rows: list[int]
) -> None:
    run = bench(rows=300)
    run.model.train()
    asked = np.array(rows or range(300))
    outputs, values = predict(run.model, run.data, asked, run.format)
    assert run.model.training  # as it was
    assert values.tolist() == run.data.target[asked].tolist()
    assert outputs.dtype == torch.float32
    assert not outputs.requires_grad
    for place in (0, len(asked) - 1):
        alone, _ = predict(run.model, run.data, asked[place : place + 1], run.format)
        assert torch.allclose(alone[0], outputs[place], atol=1e-5)


def test_predicting_changes_nothing(bench: Callable[..., object]) -> None:
    run = bench(precision="bf16")
    before: dict[str, Tensor] = {k: v.clone() for k, v in run.model.state_dict().items()}
    first, _ = predict(run.model, run.data, run.data.rows("val"), run.format)
    second, _ = predict(run.model, run.data, run.data.rows("val"), run.format)
    assert torch.equal(first, second)
    assert first.dtype == torch.float32
    assert all(torch.equal(before[k], v) for k, v in run.model.state_dict().items())


@pytest.mark.parametrize("seed", range(20))
def test_classes_are_measured_as_scikit_learn_does_bit_for_bit(seed: int) -> None:
    draw = np.random.default_rng(seed)
    rows, classes = int(draw.integers(1, 60)), int(draw.integers(2, 12))
    truth, decided = (draw.integers(classes, size=rows) for _ in range(2))
    decided[: rows // 2] = truth[: rows // 2]
    outputs = torch.nn.functional.one_hot(torch.from_numpy(decided), classes).float()
    target = Target("classes", tuple(f"class {index}" for index in range(classes)))
    values = torch.from_numpy(truth)
    found = measure(outputs, values, target, CrossEntropy().bind(values, classes, {}).task_loss)
    assert found["accuracy"] == sk.accuracy_score(truth, decided)
    assert found["f1_macro"] == sk.f1_score(truth, decided, average="macro", zero_division=0)
    report = report_classes(outputs, values, target)
    assert report["f1_macro"] == found["f1_macro"]
    precision, recall, _, support = sk.precision_recall_fscore_support(
        truth, decided, labels=np.arange(classes), zero_division=np.nan
    )
    for index, name in enumerate(target.classes):
        each = report["classes"][name]
        assert each["support"] == support[index]
        for key, expected in (("precision", precision[index]), ("recall", recall[index])):
            assert each[key] == (None if math.isnan(expected) else expected)
