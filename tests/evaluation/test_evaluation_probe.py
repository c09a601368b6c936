"""Linear probes: against scikit-learn on the same halves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from torch import Tensor

from mmx.evaluation import probe
from mmx.evaluation.probe import Probes, find_majority_share, probe_accuracy
from mmx.modalities import Encoded, Features


def encoded(x: Tensor, y: Tensor, present: Tensor | None = None) -> Encoded:
    here = torch.ones(len(x)) > 0 if present is None else present
    other = torch.full((len(x), 2), math.nan)
    features = {
        "image": Features(x[:, None], here[:, None], x),
        "text": Features(other[:, None], here[:, None], other),
    }
    return Encoded(features, {"image": here, "text": torch.zeros(len(x)) > 0}, y)


def halves(y: list[int]) -> tuple[list[int], list[int]]:
    """Return the rows of every other place, counted through one class after the other."""
    order = [row for label in sorted(set(y)) for row, own in enumerate(y) if own == label]
    return sorted(order[::2]), sorted(order[1::2])


def expected(x: Tensor, y: Tensor) -> float:
    data, labels, right = x.double().numpy(), y.numpy(), 0
    one, other = halves(y.tolist())
    for fit, test in ((one, other), (other, one)):
        mean, spread = data[fit].mean(0), np.maximum(data[fit].std(0, ddof=1), 1e-6)
        classifier = RidgeClassifier(alpha=0.01 * len(fit))
        classifier.fit((data[fit] - mean) / spread, labels[fit])
        right += int((classifier.predict((data[test] - mean) / spread) == labels[test]).sum())
    return right / len(labels)


def blobs(rows: int, width: int, classes: int, spread: float, seed: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    y = torch.randint(classes, (rows,))
    centres = torch.randn(classes, width)
    return 5 + 3 * (centres[y] + spread * torch.randn(rows, width)), y


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("rows", "width", "classes"), [(8, 3, 2), (57, 4, 2), (120, 5, 4), (40, 90, 3), (301, 6, 9)]
)
def test_is_a_ridge_classifier_fitted_on_one_half_for_the_other(
    rows: int, width: int, classes: int, seed: int
) -> None:
    x, y = blobs(rows, width, classes, 1.5, seed)
    found = probe_accuracy(encoded(x, y), "image")
    assert found == pytest.approx(expected(x, y), abs=1e-12)


def test_values_lie_between_nothing_and_everything() -> None:
    x, y = blobs(400, 8, 4, 0.05, 0)
    assert probe_accuracy(encoded(x, y), "image") == 1.0
    torch.manual_seed(1)
    found = probe_accuracy(encoded(torch.randn(4000, 8), torch.randint(4, (4000,))), "image")
    assert found == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_the_order_of_rows_says_nothing(classes: int) -> None:
    # Class after class, or one row of each in turn: both halves have all classes.
    y = torch.arange(40) % classes
    x = torch.nn.functional.one_hot(y, classes) + 0.01 * torch.randn(40, classes)
    assert probe_accuracy(encoded(x, y), "image") == 1.0
    order = y.argsort()
    assert probe_accuracy(encoded(x[order], y[order]), "image") == 1.0


def test_rows_that_lack_the_modality_take_no_part() -> None:
    x, y = blobs(90, 4, 3, 1.0, 2)
    present = torch.rand(90) < 0.6
    alone = probe_accuracy(encoded(x[present], y[present]), "image")
    holes = x.masked_fill(~present[:, None], math.nan)
    labels = torch.where(present, y, 7)  # nor does their class
    assert probe_accuracy(encoded(holes, labels, present), "image") == alone
    assert alone == pytest.approx(expected(x[present], y[present]))


def test_seven_rows_are_too_few() -> None:
    x, y = blobs(20, 4, 2, 0.1, 3)
    for count in (0, 1, 7, 8):
        found = probe_accuracy(encoded(x, y, torch.arange(20) < count), "image")
        assert (found is None) == (count < 8)
    assert probe_accuracy(encoded(x, y), "text") is None


def test_features_that_do_not_vary_say_which_class_is_the_most_frequent() -> None:
    y = torch.tensor([0] * 12 + [1] * 8)
    for x in (torch.zeros(20, 3), torch.full((20, 3), 1e6)):
        assert probe_accuracy(encoded(x, y), "image") == 0.6 == find_majority_share(y)


def test_a_feature_that_varies_in_one_half_alone_does_no_harm() -> None:
    y = torch.arange(40) % 2
    x = torch.stack([y + 0.01 * torch.randn(40), torch.zeros(40)], dim=1)
    x[0, 1] = 1e5
    assert probe_accuracy(encoded(x, y), "image") >= 39 / 40


def test_one_class_is_always_right() -> None:
    assert probe_accuracy(encoded(torch.randn(9, 2), torch.full((9,), 3)), "image") == 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_no_numbers_are_no_crash(value: float) -> None:
    x, y = blobs(20, 4, 2, 0.1, 3)
    x[5, 1] = value
    found = probe_accuracy(encoded(x, y), "image")
    assert found is not None
    assert 0 <= found <= 1


def test_neither_features_nor_the_global_generator_are_touched() -> None:
    x, y = blobs(20, 4, 2, 0.1, 3)
    x.requires_grad_()
    before, kept = torch.get_rng_state(), x.detach().clone()
    assert isinstance(probe_accuracy(encoded(x.bfloat16(), y), "image"), float)
    assert torch.equal(x, kept)
    assert torch.equal(torch.get_rng_state(), before)


def test_chance_is_the_most_frequent_class() -> None:
    assert find_majority_share(torch.tensor([2, 0, 2, 1, 2, 0, 0, 2])) == 0.5
    assert find_majority_share(torch.tensor([4])) == 1.0


def test_features_that_stay_the_same_are_probed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = blobs(57, 4, 2, 1.5, 0)
    counted: list[str] = []

    def count(rows: Encoded, modality: str) -> float | None:
        counted.append(modality)
        return probe_accuracy(rows, modality)

    monkeypatch.setattr(probe, "probe_accuracy", count)
    probes = Probes()
    first = probes.accuracy(encoded(x, y), "image")
    assert probes.accuracy(encoded(x.clone(), y.clone()), "image") == first
    assert len(counted) == 1
    changed = x.clone()
    changed[:, 0] = -y  # the classes, shown plainly
    for rows in (encoded(changed, y), encoded(x, 1 - y), encoded(x, y, y == 0)):
        assert probes.accuracy(rows, "image") == probe_accuracy(rows, "image")
    assert len(counted) == 4
    assert probes.accuracy(encoded(x, y), "text") is None
