"""Vector scaling: the minimum by gradient descent, and outputs that were shifted on purpose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmx.calibration.base import LARGEST, measure_loss
from mmx.calibration.temperature import Temperature
from mmx.calibration.vector import VectorScaling


def draw(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs of which each class has a line of its own, and truth without them."""
    random = np.random.default_rng(1)
    right = 2 * random.normal(size=(rows, 3))
    chances = np.exp(right) / np.exp(right).sum(1, keepdims=True)
    values = (random.random((rows, 1)) > chances.cumsum(1)).sum(1)
    return right / [1.0, 2.0, 0.5] - [0.0, 1.0, -1.0], values


def test_finds_the_lines_that_undo_what_was_done_to_the_outputs() -> None:
    outputs, values = draw(20_000)
    scale, offset = VectorScaling().fit(outputs, values, "classes")
    assert scale == pytest.approx([1.0, 2.0, 0.5], rel=0.1)
    # Softmax ignores what all offsets have in common: right = scale · (outputs + shift).
    assert offset - offset[0] == pytest.approx([0.0, 2.0, -0.5], abs=0.1)
    both = [torch.tensor(each, requires_grad=True) for each in (scale, offset)]
    loss = F.cross_entropy(torch.from_numpy(outputs) * both[0] + both[1], torch.from_numpy(values))
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(float(each.grad.abs().max()) < 1e-4 for each in both if each.grad is not None)


def test_is_no_worse_on_its_rows_than_a_temperature() -> None:
    outputs, values = draw(300)
    losses = []
    for method in (Temperature(), VectorScaling()):
        scale, offset = method.fit(outputs, values, "classes")
        losses.append(measure_loss(outputs * scale + offset, values, "classes")[0])
    assert losses[1] < losses[0] < measure_loss(outputs, values, "classes")[0]


def test_labels_have_a_line_each() -> None:
    random = np.random.default_rng(2)
    outputs = 2 * random.normal(size=(20_000, 2))
    values = (random.random(outputs.shape) < 1 / (1 + np.exp(-(outputs * [0.5, 2] + [1, -1])))) * 1
    scale, offset = VectorScaling().fit(outputs, values, "multilabel")
    assert scale == pytest.approx([0.5, 2.0], rel=0.1)
    assert offset == pytest.approx([1.0, -1.0], abs=0.1)


def test_numbers_stay_within_bounds_where_every_answer_is_right() -> None:
    scale, offset = VectorScaling().fit(10 * np.eye(3), np.arange(3), "classes")
    assert np.isfinite([scale, offset]).all()
    assert np.abs([scale, offset]).max() <= LARGEST
