"""The contract of every weighting of two tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from mmx.stage_id import Role

TASKS = (Role.TARGET, Role.SOURCE)
TARGET, SOURCE = range(2)
"""Where each task stands among the weights."""


class Weighting(nn.Module, ABC):
    """Weighs the losses of target and source.

    Its parameters train with the model's, without weight decay; what else moves is kept in
    buffers. Both are part of the model's state, so that a resumed run goes on with them.

    A file here is a weighting that ``transfer.weighting=<name of the file>`` chooses; one of a
    package of your own is a node, ``transfer.weighting={_target_: my_package.mine.Mine}``.

    Attributes:
        moves: Whether the weights change while the tasks train.
        reads_gradients: Whether :meth:`observe` wants to be called.
        takes_negative: Whether it can weigh losses that may be below zero. Set it to False where
            a loss is taken for a variance or a rate of progress.
    """

    moves: ClassVar[bool] = False
    reads_gradients: ClassVar[bool] = False
    takes_negative: ClassVar[bool] = True

    @classmethod
    def of_kinds(cls, kinds: tuple[str, str], **options: float) -> Weighting:
        """Return a new one for the kinds of target and source, which most do not ask for."""
        return cls(**options)

    @abstractmethod
    def weights(self) -> Tensor:
        """Return ``(2,)``: what the target's loss counts now, and what the source's."""

    def forward(self, loss: Tensor, task: int) -> Tensor:
        """Return a task's scalar loss as it counts.

        Args:
            loss: Of one of its batches, or a part of it.
            task: ``TARGET`` or ``SOURCE``.
        """
        return self.weights()[task] * loss

    def penalty(self) -> Tensor | None:
        """Return what is added to the loss once a step; None for nothing."""
        return None

    def observe(self, losses: Tensor, norms: Tensor) -> None:
        """Look at a step's gradients before it is taken, only where :attr:`reads_gradients`.

        Args:
            losses: ``(2,)`` of target and source, not weighted.
            norms: ``(2,)`` norms of the gradients of both weighted losses with respect to the
                last layers that the tasks share; in any one unit.
        """
