"""The nearest neighbours' vote."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmx.fusion.learners.base import Classes, Learner, LearnerFloats, compute_scaling


class KnnLearner(Learner):
    """The classes' shares among the k nearest training rows, standardised and Euclidean.

    Of rows at one distance the first in the training set are nearest. With fewer than k
    training rows, all of them vote. A checkpoint holds all of them, N·F numbers.

    Args:
        outputs: C.
        neighbors: k.
    """

    rank = 2
    centre: Tensor
    scale: Tensor
    points: Tensor
    labels: Tensor

    def __init__(self, outputs: int, neighbors: int) -> None:
        super().__init__(outputs)
        self.neighbors = neighbors
        self.declare(centre=None, scale=None, points=None, labels=torch.int64)

    def learn(self, x: LearnerFloats, y: Classes, seed: int) -> None:
        """Fit; see :class:`~mmx.fusion.learners.base.Learner`. Nothing is drawn."""
        mean, scale = compute_scaling(x)
        centre = self.round_input(mean)  # any will do, if it is the same for all rows
        self.keep(centre=centre, scale=scale, points=(x - centre) / scale, labels=y)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, C)`` probabilities."""
        x = (x - self.centre) / self.scale
        # ‖p - x‖² less ‖x‖², which is the same for all points p of a row
        distance = self.points.square().sum(1) - 2 * (x @ self.points.T)
        k = min(self.neighbors, len(self.points))
        reach = distance.topk(k, dim=1, largest=False).values[:, -1:]
        nearer = distance < reach
        last = distance == reach
        votes = nearer | (last & (last.cumsum(1) <= k - nearer.sum(1, keepdim=True)))
        return votes.to(x.dtype) @ F.one_hot(self.labels, self.outputs).to(x.dtype) / k
