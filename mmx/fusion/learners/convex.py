"""A convex combination of learners."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmx.fusion.learners.base import Classes, Learner, LearnerFloats
from mmx.fusion.mixing import fit_log_weights


class Convex(Learner):
    """p = Σ_a w_a p_a of A learners' probabilities, w ≥ 0, Σ_a w_a = 1.

    The weights minimise the cross-entropy on the rows they are fitted on. ``x`` holds the
    learners' concatenated probabilities, ``(N, A · C)``, all above zero. It is the combiner of
    ``combine=weights``; with few validation rows it overfits less than stacking.
    """

    weights: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs)
        self.declare(weights=None)

    def learn(self, x: LearnerFloats, y: Classes, seed: int) -> None:
        """Fit; see :class:`~mmx.fusion.learners.base.Learner`. There is no random draw."""
        # x has no zeros: the ensemble raises probabilities to at least ε before.
        decisions = torch.from_numpy(np.log(x)).view(len(x), -1, self.outputs)  # (N, A, C)
        available = torch.ones(decisions.shape[:2], dtype=torch.bool)
        log_weights = fit_log_weights(decisions, available, torch.from_numpy(y), "probabilities")
        self.keep(weights=log_weights.exp())

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, C)`` probabilities."""
        # w_a · (N, A, C), summed over A
        return torch.einsum("a,nac->nc", self.weights, x.view(x.shape[0], -1, self.outputs))
