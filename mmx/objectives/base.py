"""The contract of every objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs ``(B, C)``, targets) -> scalar, a mean over the batch, in float32."""


class Objective(ABC):
    """Base of all objectives; keyword-only, plain, annotated constructor arguments."""

    kinds: ClassVar[frozenset[str]]
    """The kinds of target it serves: classes, multilabel, regression."""

    @abstractmethod
    def bind(self, target: Tensor, outputs: int) -> Loss:
        """Return the loss function for a task.

        Args:
            target: The training targets, ``(N,)`` or ``(N, C)``.
            outputs: C.
        """
