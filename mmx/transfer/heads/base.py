"""The contract of every head: what turns fused features into outputs.

Shape legend: ``N`` rows, ``D`` width of the fused features, ``C`` outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mmx.transfer.base import TargetKind


@dataclass(frozen=True, kw_only=True)
class Head(ABC):
    """Base of all heads: a frozen dataclass; its fields are the head's options.

    A file here is a head that ``transfer.head=<name of the file>`` chooses; one of a package of
    your own is given as a node::

        @dataclass(frozen=True, kw_only=True)
        class Cosine(Head):
            scale: float = 10.0

            def make(self, width, outputs, kind):
                return CosineLayer(width, outputs, self.scale)

        transfer.head='{_target_: my_package.cosine.Cosine, scale: 5}'

    Attributes:
        kinds: The kinds of target it serves.
        batched: Whether its module can be trained many times over as one batch, as
            ``transfer.decays`` and ``transfer.head_seeds`` ask for: it has ``norm``, ``layers``
            and ``dropout`` as :class:`~mmx.transfer.heads.linear.LinearHead` has, and nothing
            else that trains.
    """

    kinds: ClassVar[frozenset[TargetKind]] = frozenset({"classes", "multilabel", "regression"})
    batched: ClassVar[bool] = False

    @abstractmethod
    def make(self, width: int, outputs: int, kind: TargetKind) -> nn.Module:
        """Return the module, fresh: ``(B, width)`` to ``(B, outputs)``.

        Args:
            width: D.
            outputs: C.
            kind: Of the target.
        """


@dataclass(frozen=True)
class HeadCandidate:
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

    def remarks(self, rows: int) -> tuple[str, ...]:
        """Return what a reader should know of a head that has no grid.

        Args:
            rows: N, the training rows.
        """
        return ()

    @abstractmethod
    def candidates(
        self, x: Tensor, y: Tensor, outputs: int, kind: TargetKind
    ) -> Iterator[HeadCandidate]:
        """Yield a solution for each value of the grid, the most regularised first.

        Args:
            x: ``(N, D)`` fused features of the training rows.
            y: Their targets: ``(N,)`` classes, ``(N, C)`` 0 or 1, or ``(N,)`` numbers.
            outputs: C.
            kind: Of the target.
        """
