"""Multinomial logistic regression."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmx.fusion.learners.base import Classes, Learner, LearnerFloats, compute_scaling

ITERATIONS = 1000


class LogisticLearner(Learner):
    """p(x) = softmax(W (x - μ) / σ + b), fitted with an L2 penalty of ‖W‖² / 2 on the summed loss.

    μ and σ are the mean and standard deviation of the training rows. Use it where a linear
    boundary is enough; it also combines learners under ``combine=stacking``.

    W / σ is stored as one tensor. μ is stored separately: W μ / σ in the bias would lose
    digits where μ is much larger than σ. The bias only corrects for the rounding of μ.
    """

    rank = 1
    centre: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs)
        self.declare(centre=None, weight=None, bias=None)

    def learn(self, x: LearnerFloats, y: Classes, seed: int) -> None:
        """Fit; see :class:`~mmx.fusion.learners.base.Learner`. There is no random draw."""
        from sklearn.linear_model import LogisticRegression  # slow to import

        seen = np.unique(y)
        centre, scale = compute_scaling(x)
        weight = np.zeros((self.outputs, x.shape[1]))
        bias = np.full(self.outputs, -np.inf)  # probability 0 for classes without a row
        bias[seen] = 0.0
        if len(seen) > 1:
            model = LogisticRegression(max_iter=ITERATIONS).fit((x - centre) / scale, y)
            # For two classes scikit-learn has one row, the second class against logit 0.
            rows = seen if len(seen) > 2 else seen[1:]
            # Undoes the scaling: W (x - μ) / σ = (W / σ) (x - μ).
            weight[rows] = model.coef_ / scale
            bias[rows] = model.intercept_
        kept = self.round_input(centre)
        bias += weight @ (kept - centre)  # W (x - μ) = W (x - round(μ)) + W (round(μ) - μ)
        self.keep(centre=kept, weight=weight, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, C)`` probabilities."""
        # One kernel for bias + (x - μ) Wᵀ.
        return torch.addmm(self.bias, x - self.centre, self.weight.T).softmax(1)
