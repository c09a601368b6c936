"""The contract of every explanation of an answer: one row, one input, a number for each part.

Shape legend: ``n`` variants of a row, ``C`` outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmx.encoders import Encoder
from mmx.modalities import Batch, Features
from mmx.model import MultimodalModel
from mmx.training.data import ModalityReader

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Question:
    """One output of a model for one row, as a function of one of the row's inputs.

    The other inputs stay as they are. Everything is computed in float32, without autocast.

    Attributes:
        model: In evaluation mode.
        batch: The row alone, with all of its inputs and no features computed before.
        name: The input that is explained; the row has it.
        view: How this input is read.
        output: Which of the C outputs is explained.
    """

    model: MultimodalModel
    batch: Batch
    name: str
    view: ModalityReader
    output: int

    @property
    def encoder(self) -> Encoder:
        """The encoder of the input."""
        found: Any = self.model.encoders[self.name]
        return found  # type: ignore[no-any-return]

    @property
    def x(self) -> Tensor:
        """``(1, ...)``: the input of the encoder."""
        return self.batch.inputs[self.name]

    @property
    def lengths(self) -> Tensor | None:
        """``(1,)`` valid steps; None for an input of fixed size."""
        return self.batch.lengths.get(self.name)

    def encode(self, x: Tensor) -> Features:
        """Return what the encoder makes of n variants of the input, ``(n, ...)``."""
        lengths = None if self.lengths is None else self.lengths.expand(len(x))
        with full_precision(self.model, x.device):
            found: Features = self.encoder(x, lengths)
        return found

    def answer(self, x: Tensor) -> Tensor:
        """Return the ``(n,)`` outputs for n variants of the input, ``(n, ...)``."""
        count = len(x)

        def repeat(part: Tensor) -> Tensor:
            return part.expand(count, *part.shape[1:])

        batch = Batch(
            inputs={self.name: x},
            lengths={} if self.lengths is None else {self.name: repeat(self.lengths)},
            present={name: repeat(each) for name, each in self.batch.present.items()},
            target=repeat(self.batch.target),
            features={name: each.map(repeat) for name, each in self._others.items()},
            complete=frozenset({self.name}),
        )
        with full_precision(self.model, x.device):
            outputs = self.model(batch)
        return outputs[:, self.output]  # type: ignore[no-any-return]

    @cached_property
    def _others(self) -> dict[str, Features]:
        """Features of the other inputs, which are computed once."""
        with torch.no_grad(), full_precision(self.model, self.x.device):
            return {
                name: self.model.encode_one(name, self.batch)
                for name in self.model.encoders
                if name != self.name
            }


def as_values(tensor: Tensor) -> Values:
    """Return a tensor as an array on the CPU."""
    found: Values = tensor.detach().float().cpu().numpy()
    return found


@contextmanager
def full_precision(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Compute in float32, and with recurrent layers whose gradients exist in evaluation mode."""
    recurrent = any(isinstance(part, nn.RNNBase) for part in model.modules())
    # cuDNN computes gradients of recurrent layers in training mode only.
    native = torch.backends.cudnn.flags(enabled=not recurrent and torch.backends.cudnn.enabled)
    with torch.autocast(device.type, enabled=False), native:
        yield


@dataclass(frozen=True)
class Completeness:
    """How far attributions fulfil the axiom of completeness.

        Σ_i attribution_i = f(x) - f(baseline)

    Attributes:
        total: f(x) - f(baseline).
        gap: The sum of the attributions minus ``total``.
        steps: Steps of the integral.
        allowed: The largest gap that counts as none.
    """

    total: float
    gap: float
    steps: int
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether the gap is small enough."""
        return abs(self.gap) <= self.allowed


@dataclass(frozen=True)
class Attribution:
    """What the parts of an input contribute to an output.

    Attributes:
        values: A number for each part; see :class:`~mmx.explanations.inputs.base.InputParts`.
        signed: Whether a number below zero speaks against the output; else all are 0 or more.
        completeness: How far the numbers sum to the change of the output, if they claim to.
        note: What a reader must know about this one.
    """

    values: Values
    signed: bool
    completeness: Completeness | None = None
    note: str = ""


class Method(ABC):
    """Base of all methods: each explains one input of one row.

    A method is one file in this folder; ``mmx explain --method`` takes its name, which is the
    file's. Methods are used by default wherever they fit.

    Example:
        >>> class Gradient(Method):
        ...     \"\"\"The gradient itself.\"\"\"
        ...
        ...     title = "Gradient"
        ...     about = "How the output changes where the input changes a little."
        ...
        ...     def explain_misfit(self, question):
        ...         return "" if question.x.is_floating_point() else "it reads no numbers"
        ...
        ...     def attribute(self, question):
        ...         x = question.x.detach().requires_grad_()
        ...         (slope,) = torch.autograd.grad(question.answer(x).sum(), x)
        ...         return Attribution(slope[0].numpy(), signed=True)
    """

    title: ClassVar[str]
    """What a page calls it."""
    about: ClassVar[str]
    """How its numbers are read: a sentence or two for the page."""
    has_baseline: ClassVar[bool] = False
    """Whether they count from the input's baseline, and sum to the change of the output from it.

    A page shows such a method before others, and says what the baseline is.
    """

    @abstractmethod
    def explain_misfit(self, question: Question) -> str:
        """Return why the method cannot explain this input of this model; "" where it can."""

    @abstractmethod
    def attribute(self, question: Question) -> Attribution:
        """Return what each part of the input contributes.

        Raises:
            DataError: A library is not installed.
        """
