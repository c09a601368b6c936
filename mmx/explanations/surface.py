"""Where an input is changed: the input itself, or what a first layer makes of it.

Word ids cannot be interpolated, and changes of single samples of a sound mean little. Words are
changed as vectors, behind the layer that looks them up, and sounds as spectrograms, behind the
layer that computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmx.explanations.base import Question


@dataclass(frozen=True)
class Surface:
    """The place where an input is changed.

    Attributes:
        question: What is asked about the input.
        module: The layer whose (first) output is changed; None for the input itself.
    """

    question: Question
    module: nn.Module | None = None

    def read(self, x: Tensor) -> Tensor:
        """Return the values ``(1, ...)`` there, for the input ``x`` ``(1, ...)``."""
        if self.module is None:
            return x
        seen: list[Tensor] = []

        def record(module: nn.Module, given: Any, output: Any) -> None:
            seen.append(_first(output).detach())

        with torch.no_grad(), watch_calls(self.module, record):
            self.question.encode(x)
        return seen[0]

    def answer(self, values: Tensor) -> Tensor:
        """Return the ``(n,)`` outputs for n variants of the values there, ``(n, ...)``."""
        if self.module is None:
            return self.question.answer(values)
        x = self.question.x
        calls: list[int] = []

        def put_in(module: nn.Module, given: Any, output: Any) -> Any:
            calls.append(1)
            if len(calls) > 1:  # a layer that is used again later keeps what it computes
                return output
            return (values, *output[1:]) if isinstance(output, tuple) else values

        with watch_calls(self.module, put_in):
            return self.question.answer(x.expand(len(values), *x.shape[1:]))


@contextmanager
def watch_calls(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    """Call ``hook(module, given, output)`` after each call of a module in the ``with`` block."""
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def trace_calls(
    question: Question, kind: type[nn.Module] = nn.Module
) -> list[tuple[nn.Module, Any, Any]]:
    """Return the modules of the encoder that are called, in the order in which they return.

    Args:
        question: The encoder reads its input.
        kind: Only modules of this class.

    Returns:
        Module, what it was given, and its output.
    """
    seen: list[tuple[nn.Module, Any, Any]] = []

    def record(module: nn.Module, given: Any, output: Any) -> None:
        seen.append((module, given, output))

    parts = [part for part in question.encoder.modules() if isinstance(part, kind)]
    handles = [part.register_forward_hook(record) for part in parts if part is not question.encoder]
    try:
        with torch.no_grad():
            question.encode(question.x)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _first(output: Any) -> Tensor:
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found
