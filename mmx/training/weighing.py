"""Weighing of the two losses of a step in joint training, and their gradients apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from mmx.training.loss import JointLoss
from mmx.transfer.weighting import SOURCE, TARGET, TASKS

__all__ = ["SOURCE", "TARGET", "Weighing"]


class Weighing:
    """Applies the weighting of joint training to the losses of each step.

    Args:
        joint: The source in joint training; None if a task trains alone: its loss is not changed.
    """

    def __init__(self, joint: JointLoss | None) -> None:
        self.weighting = None if joint is None else joint.weighting
        self.last = () if joint is None else joint.last
        self.observes = self.weighting is not None and self.weighting.reads_gradients
        self.moves = self.weighting is not None and self.weighting.moves
        self.losses: list[Tensor | float] = [0.0, 0.0]

    def __call__(self, loss: Tensor, task: int = TARGET) -> Tensor:
        """Return a task's loss, or a part of it, times its weight."""
        if self.weighting is None:
            return loss
        if self.observes:
            self.losses[task] = self.losses[task] + loss.detach()
        weighed: Tensor = self.weighting(loss, task)
        return weighed

    def extra_loss(self) -> Tensor | None:
        """Return a term that is added to the loss once per step, or None."""
        return None if self.weighting is None else self.weighting.penalty()

    @contextmanager
    def separate_gradients(self) -> Iterator[None]:
        """Show the weighting the gradients of the target and of the source separately.

        Backward passes of the target come before the block, those of the source inside it. The
        target's gradients of the last shared layers are removed at the start and added at the
        end, so that the sums are bit for bit the same as without the block.
        """
        if self.weighting is None or not self.observes:
            yield
        else:
            before = [parameter.grad for parameter in self.last]
            for parameter in self.last:
                # The source's backward pass then starts from nothing, and its gradient can be told
                # apart.
                parameter.grad = None
            yield
            after = [parameter.grad for parameter in self.last]
            norms = [_norm(each, self.last[0].device) for each in (before, after)]
            for parameter, own, other in zip(self.last, before, after, strict=True):
                if own is not None:
                    # Put together again as if both backward passes had added to one gradient.
                    parameter.grad = own if other is None else own.add_(other)
            losses = [torch.as_tensor(each, device=self.last[0].device) for each in self.losses]
            self.weighting.observe(torch.stack(losses), torch.stack(norms))
        self.losses = [0.0, 0.0]

    def weights(self) -> dict[str, float]:
        """Return the current weight of each task's loss; empty if one trains alone."""
        if self.weighting is None:
            return {}
        return dict(zip(TASKS, self.weighting.weights().detach().tolist(), strict=True))


def _norm(gradients: Sequence[Tensor | None], device: torch.device) -> Tensor:
    """Return the norm of all gradients together, a scalar; 0 where there are none."""
    there = [each for each in gradients if each is not None]
    if not there:
        return torch.zeros((), device=device)
    norm: Tensor = torch.stack(torch._foreach_norm(there)).norm()
    return norm
