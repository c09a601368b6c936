"""Focal loss: cross-entropy that looks away from what is easy."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mmx.objectives.base import Criterion, Objective, OutputLoss
from mmx.objectives.class_weights import ClassWeights, balance_class_weights, class_weights


class Focal(Objective):
    """Cross-entropy in which a row counts the less, the surer the model is of its class.

        p_i = softmax(ŷ_i)_{y_i},  L = Σ_i v_{y_i} · (1 - p_i)^γ · -ln p_i / Σ_i v_{y_i}

    The mean is that of cross-entropy, which is what γ = 0 gives: over rows, weighted by
    their classes and not by (1 - p)^γ. Use it where most rows are easy and drown the few that
    are not; with ``balance=resample`` or class weights where classes are rare.

    Args:
        gamma: γ ≥ 0.
        class_weights: v: ``none``, all 1; ``balanced``, N / (C · n_c) from the training
            rows, 1 for a class that has none; or one number > 0 for each class.

    Reference: Lin et al. 2017, arXiv 1708.02002.
    """

    kinds = frozenset({"classes"})
    weighs_classes = True

    def __init__(
        self,
        *,
        gamma: Annotated[float, Field(ge=0, le=100)] = 2.0,
        class_weights: ClassWeights = "none",
    ) -> None:
        self.gamma = gamma
        self.class_weights = class_weights

    def bind(self, target: Tensor, outputs: int, widths: dict[str, int]) -> Criterion:
        """Return the loss; see :class:`~mmx.objectives.base.Objective`.

        Raises:
            ValueError: ``class_weights`` are not one for each class.
        """
        gamma = self.gamma

        def loss(logits: Tensor, labels: Tensor, weight: Tensor | None) -> Tensor:
            surprise = F.cross_entropy(logits, labels, reduction="none")  # (B,) -ln p
            # At p = 1, the slope of (1 - p)^γ may be infinite: the clamp makes it zero.
            doubt = (-torch.expm1(-surprise)).clamp(min=torch.finfo(logits.dtype).tiny)
            losses = doubt**gamma * surprise
            if weight is None:
                return losses.mean()
            return (weight[labels] * losses).sum() / weight[labels].sum()

        weight = class_weights(self.class_weights, target, outputs)
        return OutputLoss(loss, weight, by_class=True)

    def with_class_weights(self) -> Focal:
        """Return it with class weights ``balanced``; see Objective."""
        return Focal(gamma=self.gamma, class_weights=balance_class_weights(self.class_weights))
