"""Features that are small."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.objectives.base import Criterion, FeatureLoss, Objective


class Small(Objective):
    """L = a · Σ_m mean_i ‖f_mi‖²; it reads no outputs, so it is a term of ``combined``."""

    kinds = frozenset({"classes", "multilabel", "regression"})
    reads_outputs = False

    def __init__(self, *, factor: float = 0.01) -> None:
        self.factor = factor

    def bind(self, target: Tensor, outputs: int, widths: dict[str, int]) -> Criterion:
        """Return the loss."""
        return SmallLoss(widths, self.factor)


class SmallLoss(FeatureLoss):
    """The loss of :class:`Small`."""

    def __init__(self, widths: dict[str, int], factor: float) -> None:
        super().__init__(widths)
        self.factor = factor

    def loss(self, pooled: dict[str, Tensor], present: dict[str, Tensor], target: Tensor) -> Tensor:
        """Return the scalar loss."""
        return self.factor * torch.stack([x.square().sum(1).mean() for x in pooled.values()]).sum()
