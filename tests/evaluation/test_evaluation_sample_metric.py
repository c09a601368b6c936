"""The metric as a function of sums over samples, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor

from mmx.evaluation.sample_metric import SampleScores, score_samples
from mmx.tasks import Target

N, C = 40, 3
KINDS = {
    "classes": Target("classes", ("a", "b", "c")),
    "multilabel": Target("multilabel", ("a", "b", "c")),
    "regression": Target("regression", mean=1000.0, std=0.5),
}


def made(kind: str) -> tuple[Tensor, Tensor]:
    random = np.random.default_rng(3)
    if kind == "classes":
        values = torch.from_numpy(random.integers(0, C, N))
    elif kind == "multilabel":
        values = torch.from_numpy(random.integers(0, 2, (N, C)).astype(np.float32))
    else:
        values = 1000 + 0.5 * torch.from_numpy(random.normal(size=N))
    width = 1 if kind == "regression" else C
    return torch.from_numpy(random.normal(size=(N, width)).astype(np.float32)), values


def by_sklearn(outputs: Tensor, values: Tensor, kind: str) -> float:
    if kind == "classes":
        return float(sk.accuracy_score(values, outputs.argmax(1)))
    if kind == "multilabel":
        return float(sk.f1_score(values, outputs > 0, average="macro", zero_division=0))
    return float(sk.r2_score(values, 1000 + 0.5 * outputs[:, 0].double()))


@pytest.mark.parametrize("kind", KINDS)
def test_scores_give_the_metric_of_all_samples_and_of_any_resample(kind: str) -> None:
    outputs, values = made(kind)
    scores = score_samples(outputs, values, KINDS[kind], np.arange(N))
    assert scores.value == pytest.approx(by_sklearn(outputs, values, kind), abs=1e-12)
    random = np.random.default_rng(4)
    for _ in range(5):
        drawn = random.integers(0, N, N)
        found = scores.of_sums(scores.statistics[drawn].sum(0))
        wanted = by_sklearn(outputs[drawn], values[drawn], kind)
        assert float(found) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_sums_of_many_resamples_are_taken_at_once(kind: str) -> None:
    scores = score_samples(*made(kind), KINDS[kind], np.arange(N))
    weights = np.random.default_rng(5).multinomial(N, np.full(N, 1 / N), size=(2, 6))
    sums = weights @ scores.statistics
    found = scores.of_sums(sums)
    assert found.shape == (2, 6)
    assert found[1, 3] == pytest.approx(float(scores.of_sums(sums[1, 3])), abs=1e-12)


def test_a_label_that_is_neither_there_nor_predicted_counts_as_zero() -> None:
    outputs, values = torch.tensor([[1.0, -1.0], [1.0, -1.0]]), torch.tensor([[1.0, 0], [1, 0]])
    scores = score_samples(outputs, values, Target("multilabel", ("a", "b")), np.arange(2))
    assert scores.value == 0.5
    assert by_sklearn(outputs, values, "multilabel") == 0.5


def test_r2_of_a_constant_is_as_scikit_learn_has_it() -> None:
    for error, wanted in ((0.0, 1.0), (0.5, 0.0)):
        scores = SampleScores("r2", np.array([[error, 0.0, 0.0]] * 3), np.arange(3))
        assert scores.value == wanted == sk.r2_score([2.0] * 3, [2.0 + error] * 3)
