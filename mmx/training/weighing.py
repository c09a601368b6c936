"""The losses of a step of two tasks: weighed, and told apart where their weights ask for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from mmx.training.loss import JointLoss
from mmx.transfer.weighting import SOURCE, TARGET, TASKS

__all__ = ["SOURCE", "TARGET", "Weighing"]


class Weighing:
    """Weighs the losses of one step after the other.

    Args:
        joint: The source of joint training; None where a task trains alone, and its loss counts
            as it is.
    """

    def __init__(self, joint: JointLoss | None) -> None:
        self.weighting = None if joint is None else joint.weighting
        self.last = () if joint is None else joint.last
        self.observes = self.weighting is not None and self.weighting.reads_gradients
        self.moves = self.weighting is not None and self.weighting.moves
        self.losses: list[Tensor | float] = [0.0, 0.0]

    def __call__(self, loss: Tensor, task: int = TARGET) -> Tensor:
        """Return a task's loss, or a part of it, as it counts in this step."""
        if self.weighting is None:
            return loss
        if self.observes:
            self.losses[task] = self.losses[task] + loss.detach()
        weighed: Tensor = self.weighting(loss, task)
        return weighed

    def held(self) -> Tensor | None:
        """Return what is added to the loss once a step; None for nothing."""
        return None if self.weighting is None else self.weighting.penalty()

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Let the weighting tell the gradients of a backward pass from those before it.

        Gradients of the last shared layers step aside for the pass and are added again, so
        that the sums are the same as without, to the bit.
        """
        if self.weighting is None or not self.observes:
            yield
        else:
            before = [parameter.grad for parameter in self.last]
            for parameter in self.last:
                parameter.grad = None
            yield
            after = [parameter.grad for parameter in self.last]
            norms = [_norm(each, self.last[0].device) for each in (before, after)]
            for parameter, own, other in zip(self.last, before, after, strict=True):
                if own is not None:
                    parameter.grad = own if other is None else own.add_(other)
            losses = [torch.as_tensor(each, device=self.last[0].device) for each in self.losses]
            self.weighting.observe(torch.stack(losses), torch.stack(norms))
        self.losses = [0.0, 0.0]

    def weights(self) -> dict[str, float]:
        """Return what each task's loss counts now; nothing where one trains alone."""
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
