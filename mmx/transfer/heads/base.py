"""The contract of every head: a module that turns fused features into outputs.

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

    A file here is a head that ``transfer.head=<name of the file>`` chooses; a head from your own
    package is given as a node, ``transfer.head='{_target_: my_package.cosine.Cosine, scale: 5}'``.

    Example:
        >>> import torch
        >>> class CosineHead(nn.Linear):
        ...     def __init__(self, width, outputs, scale):
        ...         super().__init__(width, outputs, bias=False)
        ...         self.scale = scale
        ...
        ...     def forward(self, x):
        ...         normalize = nn.functional.normalize
        ...         return self.scale * normalize(x, dim=1) @ normalize(self.weight, dim=1).T
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Cosine(Head):
        ...     scale: float = 10.0
        ...
        ...     def make(self, width, outputs, kind):
        ...         return CosineHead(width, outputs, self.scale)
        >>> Cosine(scale=5.0).make(8, 3, "classes")(torch.randn(4, 8)).shape
        torch.Size([4, 3])

    Attributes:
        kinds: The kinds of target that it can predict.
        batched: Whether many copies of its module can be trained as one batch, as
            ``transfer.decays`` and ``transfer.head_seeds`` require. The module then has ``norm``,
            ``layers`` and ``dropout`` as :class:`~mmx.transfer.heads.linear.LinearHead` has, and
            no other trainable parts.
    """

    kinds: ClassVar[frozenset[TargetKind]] = frozenset({"classes", "multilabel", "regression"})
    batched: ClassVar[bool] = False

    @abstractmethod
    def make(self, width: int, outputs: int, kind: TargetKind) -> nn.Module:
        """Return a fresh module: ``(B, width)`` to ``(B, outputs)``.

        Args:
            width: D.
            outputs: C.
            kind: The target's kind.
        """


@dataclass(frozen=True)
class HeadCandidate:
    """One solution for a head; validation chooses among several.

    Attributes:
        value: Value of the option that the grid varies; None if there is no grid.
        state: The module's tensors by name, in float64.
    """

    value: float | None
    state: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class FittedHead(Head):
    """Base of the heads that are fitted to cached features, without gradient steps.

    Derive from it if the best weights have a closed form, or nearly so.

    Example:
        >>> import torch
        >>> @dataclass(frozen=True, kw_only=True)
        ... class NearestMean(FittedHead):
        ...     kinds = frozenset({"classes"})
        ...
        ...     def make(self, width, outputs, kind):
        ...         return nn.Linear(width, outputs)
        ...
        ...     def candidates(self, x, y, outputs, kind):
        ...         means = torch.stack([x[y == c].mean(0) for c in range(outputs)])
        ...         state = {"weight": means, "bias": -means.square().sum(1) / 2}
        ...         yield HeadCandidate(None, state)
        >>> x, y = torch.tensor([[0.0], [1.0], [4.0]]), torch.tensor([0, 0, 1])
        >>> (candidate,) = NearestMean().candidates(x, y, 2, "classes")
        >>> candidate.state["weight"]
        tensor([[0.5000],
                [4.0000]])

    Attributes:
        varied: Name of the option that the grid varies.
    """

    varied: ClassVar[str] = ""

    def remarks(self, rows: int) -> tuple[str, ...]:
        """Return notes for the reader on a head without a grid.

        Args:
            rows: N, the number of training rows.
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
            kind: The target's kind.
        """
