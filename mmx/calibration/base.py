"""The contract of every calibration, and what it adds to a model.

Shape legend: ``N`` rows, ``C`` outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmx.metrics import Floats
from mmx.tasks.contents import Kind

PREFIX = "calibration."
"""How the names of its tensors begin in a model."""
LARGEST = 100.0
"""Scales are at most this, and at least its inverse; offsets are within it."""


class Calibrated(Protocol):
    """A model that may have a calibration, which its outputs pass."""

    calibration: nn.Module | None


class Rescaling(nn.Module):
    """One line for each output: ``scale · output + offset``.

    Args:
        scale: ``(C,)``.
        offset: ``(C,)``.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, scale: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("offset", offset)

    def forward(self, outputs: Tensor) -> Tensor:
        """Return outputs ``(B, C)``."""
        return outputs * self.scale + self.offset


@dataclass(frozen=True, kw_only=True)
class Calibration(ABC):
    """Base of all calibrations. A subclass fits one line for each output.

    ::

        @dataclass(frozen=True, kw_only=True)
        class Halve(Calibration):
            def fit(self, outputs, values, kind):
                return np.full(outputs.shape[1], 0.5), np.zeros(outputs.shape[1])

    Attributes:
        kinds: The kinds of target that it is for.
        one_temperature: Whether all outputs have one scale and no offset. The summary then states
            its inverse, the temperature.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"classes", "multilabel"})
    one_temperature: ClassVar[bool] = False

    @abstractmethod
    def fit(self, outputs: Floats, values: npt.NDArray[Any], kind: Kind) -> tuple[Floats, Floats]:
        """Return scale and offset of each output, ``(C,)`` and ``(C,)``.

        Args:
            outputs: ``(N, C)`` of validation rows.
            values: ``(N,)`` class indices, or ``(N, C)`` 0 and 1 of several labels.
            kind: Which of both.
        """

    def fit_module(self, outputs: Tensor, values: Tensor, kind: Kind) -> Rescaling:
        """Return the fitted module; see :meth:`fit`."""
        truth = values.numpy().astype(np.int64)
        scale, offset = self.fit(outputs.double().numpy(), truth, kind)
        return Rescaling(torch.from_numpy(scale).float(), torch.from_numpy(offset).float())


def measure_loss(outputs: Floats, values: npt.NDArray[Any], kind: Kind) -> tuple[float, Floats]:
    """Return the mean negative log-likelihood, and its gradient ``(N, C)`` in the outputs.

    Over all labels where there are several.
    """
    if kind == "classes":
        # The largest logit becomes 0: exp does not overflow, and the softmax is the same.
        shifted = outputs - outputs.max(1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        rows = np.arange(len(outputs))
        gradient = np.exp(logs)
        # Of cross-entropy in the logits: p - one-hot.
        gradient[rows, values] -= 1
        return float(-logs[rows, values].mean()), gradient / len(outputs)
    # ln(1 + e^z) - y z, the binary cross-entropy of logits, without overflow.
    losses = np.logaddexp(0, outputs) - values * outputs
    # σ(z) = exp(-ln(1 + e^-z)), for large negative z too
    chances = np.exp(-np.logaddexp(0, -outputs))
    return float(losses.mean()), (chances - values) / outputs.size


def attach(model: Calibrated, tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Give a model the calibration that a checkpoint has tensors of, or none.

    Args:
        model: The model.
        tensors: Of the checkpoint, by name; the values are loaded later.
        device: Of the model.
    """
    scale = tensors.get(f"{PREFIX}scale")
    model.calibration = (
        # Made with the right shapes; their values are loaded with the rest of the state.
        None
        if scale is None
        else Rescaling(torch.ones_like(scale), torch.zeros_like(scale)).to(device)
    )


@contextmanager
def suspend_calibration(model: Calibrated) -> Iterator[None]:
    """Leave out a model's calibration in the ``with`` block."""
    kept = model.calibration
    model.calibration = None
    try:
        yield
    finally:
        model.calibration = kept
