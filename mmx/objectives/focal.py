"""Focal loss: cross-entropy with less weight on easy rows."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mmx.objectives.base import Criterion, Objective, OutputLoss
from mmx.objectives.class_weights import ClassWeights, balance_class_weights, make_class_weights


class Focal(Objective):
    """Cross-entropy that gives rows less weight the more certain the model is of their class.

        p_i = softmax(ŷ_i)_{y_i},  L = Σ_i v_{y_i} · (1 - p_i)^γ · -ln p_i / Σ_i v_{y_i}

    Use it if most rows are easy and dominate the few that are not; combine it with
    ``balance=resample`` or class weights if classes are rare.

    γ = 0 is cross-entropy. As there, the mean is weighted by the classes of the rows, not by
    (1 - p)^γ.

    Args:
        gamma: γ ≥ 0. 0 is cross-entropy; larger values give easy rows less weight.
        class_weights: v: ``none``, all 1; ``balanced``, N / (C · n_c) from the training
            rows, 1 for a class without rows; or one number > 0 for each class.

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
            ValueError: ``class_weights`` does not have one number for each class.
        """
        gamma = self.gamma

        def loss(logits: Tensor, labels: Tensor, weight: Tensor | None) -> Tensor:
            surprise = F.cross_entropy(logits, labels, reduction="none")  # (B,) -ln p
            # 1 - p = -expm1(ln p) keeps its digits near p = 1. For γ < 1, the slope of
            # (1 - p)^γ is infinite at p = 1; the clamp sets the gradient to zero there.
            doubt = (-torch.expm1(-surprise)).clamp(min=torch.finfo(logits.dtype).tiny)
            losses = doubt**gamma * surprise
            if weight is None:
                return losses.mean()
            return (weight[labels] * losses).sum() / weight[labels].sum()

        weight = make_class_weights(self.class_weights, target, outputs)
        return OutputLoss(loss, weight, by_class=True)

    def with_class_weights(self) -> Focal:
        """Return the same objective with class weights ``balanced``; see Objective."""
        return Focal(gamma=self.gamma, class_weights=balance_class_weights(self.class_weights))
