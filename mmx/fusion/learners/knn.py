"""k nearest neighbours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmx.fusion.learners.base import Classes, Learner, LearnerFloats, compute_scaling


class KnnLearner(Learner):
    """The shares of the classes among the k nearest training rows.

    Distances are Euclidean, on standardised features. Of rows at the same distance, those
    that come first in the training set count as nearer. With fewer than k training rows, all
    of them vote. Use it where classes form several clusters; a checkpoint holds all training
    rows, N·F numbers.

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
        """Fit; see :class:`~mmx.fusion.learners.base.Learner`. There is no random draw."""
        mean, scale = compute_scaling(x)
        # Distances do not depend on the centre, as long as training rows and queries share it.
        centre = self.round_input(mean)
        self.keep(centre=centre, scale=scale, points=(x - centre) / scale, labels=y)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, C)`` probabilities."""
        x = (x - self.centre) / self.scale
        # ‖p - x‖² - ‖x‖², (N, points); ‖x‖² is the same for all points p
        distance = self.points.square().sum(1) - 2 * (x @ self.points.T)
        k = min(self.neighbors, len(self.points))
        # The k-th smallest distance of each row, (N, 1); ties at it are resolved below.
        reach = distance.topk(k, dim=1, largest=False).values[:, -1:]
        nearer = distance < reach
        # Of the points at the distance of the k-th, only as many vote as are needed for k.
        last = distance == reach
        votes = nearer | (last & (last.cumsum(1) <= k - nearer.sum(1, keepdim=True)))
        # (N, points) @ (points, C): how many of the k votes each class has.
        return votes.to(x.dtype) @ F.one_hot(self.labels, self.outputs).to(x.dtype) / k
