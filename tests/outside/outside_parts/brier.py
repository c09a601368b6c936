"""Squared distance of probabilities to the one-hot class."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmx.objectives.base import Criterion, Objective, OutputLoss


class Brier(Objective):
    """L = mean_i ‖softmax(z_i) − y_i‖²."""

    kinds = frozenset({"classes"})

    def bind(self, target: Tensor, outputs: int, widths: dict[str, int]) -> Criterion:
        """Return the loss."""
        return OutputLoss(_loss)


def _loss(logits: Tensor, classes: Tensor, weight: Tensor | None) -> Tensor:
    wanted = F.one_hot(classes, logits.shape[1]).to(logits)
    return (logits.softmax(1) - wanted).square().sum(1).mean()
