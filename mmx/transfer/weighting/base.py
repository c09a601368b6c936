"""The contract of every weighting of two losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from mmx.stage_id import Role

TASKS = (Role.TARGET, Role.SOURCE)
TARGET, SOURCE = range(2)
"""Index of each task in the weights."""


class Weighting(nn.Module, ABC):
    """Base of all weightings of the losses of target and source.

    Its parameters train with the model's, without weight decay; other state is kept in buffers.
    Both are part of the model's state, so that a resumed run continues with them.

    A file here is a weighting that ``transfer.weighting=<name of the file>`` chooses; a weighting
    from your own package is a node with its options,
    ``transfer.weighting='{_target_: my_package.share.Share, target: 0.7}'``.

    Example:
        >>> import torch
        >>> class Share(Weighting):
        ...     def __init__(self, *, target: float = 0.5):
        ...         super().__init__()
        ...         self.share = target
        ...
        ...     def weights(self):
        ...         return torch.tensor([self.share, 1 - self.share])
        >>> Share(target=0.75)(torch.tensor(2.0), SOURCE)
        tensor(0.5000)

    Attributes:
        moves: Whether the weights change during training.
        reads_gradients: Whether :meth:`observe` is to be called.
        takes_negative: Whether it can weigh losses that may be negative. Set it to False if
            it interprets a loss as a variance or a rate of progress.
    """

    moves: ClassVar[bool] = False
    reads_gradients: ClassVar[bool] = False
    takes_negative: ClassVar[bool] = True

    @classmethod
    def of_kinds(cls, kinds: tuple[str, str], **options: float) -> Weighting:
        """Return a new weighting for the kinds of target and source, which most do not use."""
        return cls(**options)

    @abstractmethod
    def weights(self) -> Tensor:
        """Return ``(2,)``: the current weights of the target's and of the source's loss."""

    def forward(self, loss: Tensor, task: int) -> Tensor:
        """Return a task's scalar loss times its weight.

        Args:
            loss: The loss of one of its batches, or a part of it.
            task: ``TARGET`` or ``SOURCE``.
        """
        return self.weights()[task] * loss

    def penalty(self) -> Tensor | None:
        """Return a term to add to the loss once per step; None if there is none."""
        return None

    def observe(self, losses: Tensor, norms: Tensor) -> None:
        """Read the gradients of a step before it is taken; called if :attr:`reads_gradients`.

        Args:
            losses: ``(2,)`` unweighted losses of target and source.
            norms: ``(2,)`` norms of the gradients of the weighted losses with respect to the
                last layers that the tasks share, up to a common factor.
        """
