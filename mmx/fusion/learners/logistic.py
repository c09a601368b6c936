"""Multinomial logistic regression."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmx.fusion.learners.base import Classes, Learner, LearnerFloats, compute_scaling

ITERATIONS = 1000


class LogisticLearner(Learner):
    """p(x) = softmax(W (x - μ) / σ + b), an L2 penalty of ‖W‖² / 2 on the summed loss.

    μ and σ are the training rows' mean and standard deviation. W / σ is kept as one tensor.
    μ is kept apart, since W μ / σ in the bias would cost digits where μ is large beside σ;
    the bias holds only what rounding takes from μ.
    """

    rank = 1
    centre: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs)
        self.declare(centre=None, weight=None, bias=None)

    def learn(self, x: LearnerFloats, y: Classes, seed: int) -> None:
        """Fit; see :class:`~mmx.fusion.learners.base.Learner`. Nothing is drawn."""
        from sklearn.linear_model import LogisticRegression  # slow to import

        seen = np.unique(y)
        centre, scale = compute_scaling(x)
        weight = np.zeros((self.outputs, x.shape[1]))
        bias = np.full(self.outputs, -np.inf)
        bias[seen] = 0.0
        if len(seen) > 1:
            model = LogisticRegression(max_iter=ITERATIONS).fit((x - centre) / scale, y)
            rows = seen if len(seen) > 2 else seen[1:]  # of two classes, the second against 0
            weight[rows] = model.coef_ / scale
            bias[rows] = model.intercept_
        kept = self.round_input(centre)
        bias += weight @ (kept - centre)
        self.keep(centre=kept, weight=weight, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, C)`` probabilities."""
        return torch.addmm(self.bias, x - self.centre, self.weight.T).softmax(1)
