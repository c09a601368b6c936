"""Binary cross-entropy for targets of several labels."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from mmx.objectives.base import Criterion, Objective, OutputLoss


class BinaryCrossEntropy(Objective):
    """The mean binary cross-entropy over labels and rows.

        L = mean_{i,c} -[v_c y_ic ln σ(ŷ_ic) + (1 - y_ic) ln(1 - σ(ŷ_ic))]

    Use it for multi-label tasks, with ``positive_weight=balanced`` if most labels are rare.

    Args:
        positive_weight: v: ``none``, all 1; ``balanced``, the ratio of negatives to positives
            of each label in the training rows, 1 for a label without one of them.
    """

    kinds = frozenset({"multilabel"})

    def __init__(self, *, positive_weight: Literal["none", "balanced"] = "none") -> None:
        self.positive_weight = positive_weight

    def bind(self, target: Tensor, outputs: int, widths: dict[str, int]) -> Criterion:
        """Return the loss; see :class:`~mmx.objectives.base.Objective`."""
        return OutputLoss(
            _loss, _weigh_positives(target) if self.positive_weight == "balanced" else None
        )


def _loss(logits: Tensor, labels: Tensor, weight: Tensor | None) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits), pos_weight=weight)


def _weigh_positives(target: Tensor) -> Tensor:
    """Return the ``(C,)`` ratios of negatives to positives of a ``(N, C)`` target."""
    positives = target.double().sum(0)
    negatives = len(target) - positives
    # 0 / n and n / 0 are replaced by 1: such a label cannot be learned anyway.
    return (negatives / positives).where((positives > 0) & (negatives > 0), 1.0)
