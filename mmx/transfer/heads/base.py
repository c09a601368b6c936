"""The contract of every head: what turns fused features into outputs.

Shape legend: ``N`` rows, ``D`` width of the fused features, ``C`` outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mmx.transfer.base import Kind


@dataclass(frozen=True, kw_only=True)
class Head(ABC):
    """Base of all heads: a frozen dataclass whose fields are the head's options.

    Attributes:
        kinds: The kinds of target it serves.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"classes", "multilabel", "regression"})

    @abstractmethod
    def make(self, width: int, outputs: int, kind: Kind) -> nn.Module:
        """Return the module, fresh: ``(B, width)`` to ``(B, outputs)``.

        Args:
            width: D.
            outputs: C.
            kind: Of the target.
        """


@dataclass(frozen=True)
class Candidate:
    """One solution for a head, to be chosen or not on validation.

    Attributes:
        value: Of the option that the grid varies; None where there is no grid.
        state: The module's tensors by name, in float64.
    """

    value: float | None
    state: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class FittedHead(Head):
    """Base of the heads that are fitted to cached features, without a gradient step.

    Attributes:
        varied: What the grid varies, as the field calls it.
    """

    varied: ClassVar[str] = ""

    @abstractmethod
    def candidates(self, x: Tensor, y: Tensor, outputs: int, kind: Kind) -> Iterator[Candidate]:
        """Yield a solution for each value of the grid, the most regularised first.

        Args:
            x: ``(N, D)`` fused features of the training rows.
            y: Their targets: ``(N,)`` classes, ``(N, C)`` 0 or 1, or ``(N,)`` numbers.
            outputs: C.
            kind: Of the target.
        """
