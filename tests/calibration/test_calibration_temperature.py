"""Temperature scaling: the temperature that data was made with, and the minimum by autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmx.calibration import Rescaling
from mmx.calibration.base import LARGEST, measure_loss
from mmx.calibration.temperature import Temperature


def draw(kind: str, rows: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs, and truth drawn from their probabilities at a temperature."""
    random = np.random.default_rng(0)
    outputs = 3 * random.normal(size=(rows, 4))
    if kind == "multilabel":
        chances = 1 / (1 + np.exp(-outputs / temperature))
        return outputs, (random.random(outputs.shape) < chances).astype(np.int64)
    chances = np.exp(outputs / temperature)
    chances /= chances.sum(1, keepdims=True)
    drawn = (random.random((rows, 1)) > chances.cumsum(1)).sum(1)
    return outputs, drawn


def loss_of(kind: str, outputs: torch.Tensor, values: np.ndarray) -> torch.Tensor:
    truth = torch.from_numpy(values)
    if kind == "classes":
        return F.cross_entropy(outputs, truth)
    return F.binary_cross_entropy_with_logits(outputs, truth.double())


@pytest.mark.parametrize("kind", ["classes", "multilabel"])
def test_the_loss_and_its_gradient_are_those_of_torch(kind: str) -> None:
    outputs, values = draw(kind, 50, 2.0)
    tensor = torch.from_numpy(outputs).requires_grad_()
    wanted = loss_of(kind, tensor, values)
    wanted.backward()  # type: ignore[no-untyped-call]
    loss, gradient = measure_loss(outputs, values, kind)  # type: ignore[arg-type]
    assert loss == pytest.approx(wanted.item())
    assert tensor.grad is not None
    assert gradient == pytest.approx(tensor.grad.numpy())


@pytest.mark.parametrize("kind", ["classes", "multilabel"])
def test_finds_the_temperature_that_the_truth_was_drawn_with(kind: str) -> None:
    outputs, values = draw(kind, 20_000, 2.5)
    scale, offset = Temperature().fit(outputs, values, kind)  # type: ignore[arg-type]
    assert 1 / scale == pytest.approx(np.full(4, 2.5), rel=0.05)
    assert not offset.any()
    inverse = torch.tensor(scale[0], requires_grad=True)
    loss_of(kind, torch.from_numpy(outputs) * inverse, values).backward()  # type: ignore[no-untyped-call]
    assert inverse.grad is not None
    assert float(inverse.grad) == pytest.approx(0, abs=1e-5)


def test_answers_that_are_all_right_get_a_small_temperature() -> None:
    outputs = np.eye(3)
    scale, _ = Temperature().fit(outputs, np.arange(3), "classes")
    # Beyond some scale the loss is 0 in float64, so that no larger one is looked for.
    assert (scale > 20).all()
    assert (scale <= LARGEST).all()


def test_the_module_scales_outputs_and_keeps_decisions() -> None:
    outputs, values = draw("classes", 200, 3.0)
    given = torch.from_numpy(outputs).float()
    module = Temperature().fit_module(given, torch.from_numpy(values), "classes")
    assert isinstance(module, Rescaling)
    assert torch.equal(module(given).argmax(1), given.argmax(1))
    assert set(module.state_dict()) == {"scale", "offset"}
    assert not list(module.parameters())
