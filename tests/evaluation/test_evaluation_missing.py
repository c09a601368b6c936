from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmx.evaluation import subsets
from mmx.evaluation.predict import predict
from mmx.evaluation.subsets import Subset, compute_prior, predict_subsets
from mmx.tasks import Target


def measure(outputs: Tensor, values: Tensor) -> dict[str, float]:
    return {"accuracy": float((outputs.argmax(1) == values).double().mean())}


def test_all_subsets_by_size_then_name() -> None:
    assert subsets.list_subsets(["b", "c", "a"]) == [
        *[(), ("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")]
    ]
    assert subsets.list_subsets(["x"]) == [(), ("x",)]
    assert len(set(subsets.list_subsets("abcde"))) == 32


def test_prior_of_classes_is_their_frequency() -> None:
    target = Target("classes", ("a", "b", "c", "d"))
    found = compute_prior(torch.tensor([1, 1, 1, 0, 2]), target)
    assert found.dtype == torch.float32
    assert found.exp().tolist() == pytest.approx([0.2, 0.6, 0.2, 0.1])  # d: half a row of five
    # of all constants, ln p has the least cross-entropy on the training rows
    values = torch.tensor([1, 1, 1, 0, 2, 3])
    best = compute_prior(values, target)
    least = F.cross_entropy(best.repeat(6, 1), values)
    for _ in range(20):
        other = best + 0.3 * torch.randn(4)
        assert F.cross_entropy(other.repeat(6, 1), values) > least


def test_prior_of_labels_is_each_ones_frequency() -> None:
    values = torch.tensor([[1.0, 0, 1, 1], [1, 0, 0, 1], [1, 0, 0, 0]])
    found = compute_prior(values, Target("multilabel", ("all", "none", "one", "two")))
    assert found.sigmoid().tolist() == pytest.approx([5 / 6, 1 / 6, 1 / 3, 2 / 3])
    assert (found > 0).tolist() == [True, False, False, True]


def test_prior_of_numbers_is_their_mean() -> None:
    found = compute_prior(torch.tensor([1.0, 2.0, 6.0]), Target("regression", mean=5.0, std=2.0))
    assert found.tolist() == [3.0]


def naive(run, subset: Subset, row: int) -> tuple[Tensor, bool]:
    """Hide columns from the data itself, and ask one row alone."""
    hidden = {name: copy.copy(column) for name, column in run.columns.items()}
    for name, column in hidden.items():
        if name not in subset:
            column.present = np.zeros_like(column.present)
    if not any(column.present[row] for column in hidden.values()):
        return run.prior, True
    return run.alone(run.make_data(hidden), row), False


@pytest.mark.parametrize("names", [("image",), ("text", "tabular"), ("image", "audio", "tabular")])
@pytest.mark.parametrize("batch_size", [256, 5])
def test_each_subset_equals_data_without_the_other_modalities(
    shop: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...],
    batch_size: int,
) -> None:
    monkeypatch.setattr(subsets, "BATCH_SIZE", batch_size)
    run = shop(names=names)
    found = predict_subsets(run.model, run.data, run.rows, run.precision, run.prior)
    assert list(found.answers) == subsets.list_subsets(names)
    assert torch.equal(found.values, run.target[run.rows])
    for subset, answers in found.answers.items():
        expected = [naive(run, subset, int(row)) for row in run.rows]
        assert answers.by_prior == sum(blind for _, blind in expected)
        assert torch.allclose(answers.outputs, torch.stack([y for y, _ in expected]), atol=1e-5)


def test_the_empty_subset_is_the_prior_and_the_full_one_is_predict(
    shop: Callable[..., object],
) -> None:
    run = shop()
    found = predict_subsets(run.model, run.data, run.rows, run.precision, run.prior)
    assert len(found.answers) == 16
    assert torch.equal(found.answers[()].outputs, run.prior.repeat(len(run.rows), 1))
    assert found.answers[()].by_prior == len(run.rows)
    full = found.answers["audio", "image", "tabular", "text"]
    outputs, values = predict(run.model, run.data, run.rows, run.precision)
    assert torch.equal(full.outputs, outputs)  # bit for bit
    assert full.by_prior == 0
    alone = found.answers["audio",]
    assert alone.by_prior == int((~run.columns["audio"].present).sum()) > 0
    metrics = found.metrics(measure)
    assert metrics[()] == measure(run.prior.repeat(len(values), 1), values)
    assert metrics["audio",] == measure(alone.outputs, values)


def test_what_is_hidden_does_not_matter_even_nan(shop: Callable[..., object]) -> None:
    run = shop(names=("image", "tabular"))
    one = predict_subsets(run.model, run.data, run.rows, run.precision, run.prior)
    torch.nn.init.constant_(next(run.model.encoders["image"].parameters()), math.nan)
    two = predict_subsets(run.model, run.data, run.rows, run.precision, run.prior)
    assert torch.equal(one.answers["tabular",].outputs, two.answers["tabular",].outputs)
    assert two.answers["image",].outputs.isnan().any()


def test_each_modality_is_encoded_once_a_batch(shop: Callable[..., object]) -> None:
    run = shop()
    calls: list[str] = []
    for name, encoder in run.model.encoders.items():
        encoder.register_forward_hook(lambda *_, name=name: calls.append(name))
    run.model.train()
    found = predict_subsets(run.model, run.data, run.rows, run.precision, run.prior)
    assert sorted(calls) == ["audio", "image", "tabular", "text"]
    assert run.model.training  # as it was
    assert not any(answers.outputs.requires_grad for answers in found.answers.values())
