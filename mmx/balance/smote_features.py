"""SMOTE on features: new rows between neighbours of a rare class."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from mmx.balance.base import Balance, Mixed, RowArray, interpolate
from mmx.balance.resample import balance_rows
from mmx.modalities import Features

SAME = 1e-9
"""Two rows whose squared distance is below this fraction of the largest one in the batch are
copies of one row; a point between two copies would be nothing new."""


class SmoteFeatures(Balance):
    """Adds points between a row of a rare class and a neighbour of the same class.

        x = x_i + u (x_j - x_i),  u ~ U(0, 1),  j one of the k nearest of i's class

    Every class is drawn equally often, as by ``resample``. If a class has n_c rows and is drawn
    q times in an epoch, a fraction 1 - n_c / q of these draws are repetitions, and each of its
    rows is moved with this probability. Neighbours come from the batch. Their distance is the
    mean squared difference of the pooled features over the modalities that both rows have.
    Copies of the row itself are not neighbours. A row without a neighbour stays as it is. Use
    it where ``resample`` overfits the few rows of a class; it needs batches large enough to
    hold several rows of each class.

    Args:
        neighbors: k, the number of nearest rows of its class that a row may move towards.

    Reference: Chawla et al. 2002, JAIR 16.
    """

    compares_rows = True

    def __init__(self, *, neighbors: Annotated[int, Field(ge=1, le=100_000)] = 5) -> None:
        self.neighbors = neighbors

    def draw(self, rows: RowArray, labels: RowArray, generator: np.random.Generator) -> RowArray:
        """Return ``len(rows)`` rows; see :func:`~mmx.balance.resample.balance_rows`."""
        return balance_rows(rows, labels, generator)

    def mix(
        self,
        features: dict[str, Features],
        present: dict[str, Tensor],
        target: Tensor,
        counts: Tensor,
    ) -> Mixed:
        """Return the batch with repeated rows moved; see :class:`~mmx.balance.base.Balance`."""
        quota = counts.sum() / (counts > 0).sum()  # draws of each class in an epoch
        repeated = (1 - counts / quota).clamp(min=0)[target]  # (B,) chance to be moved
        moved = torch.rand(len(target), device=target.device) < repeated
        partner, found = self._neighbour(features, present, target)
        share = 1 - torch.rand(len(target), device=target.device) * (moved & found)
        return Mixed(interpolate(features, present, partner, share), target)

    def _neighbour(
        self, features: dict[str, Features], present: dict[str, Tensor], target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return ``(B,)`` a random neighbour of each row, and ``(B,)`` whether there is one."""
        distance = mean_squared_distance(features, present)
        strangers = target[:, None] != target[None, :]
        farthest = distance.masked_fill(distance.isinf(), 0.0).max()
        # The row itself is excluded as well: its distance to itself is 0.
        distance = distance.masked_fill(strangers | (distance <= SAME * farthest), torch.inf)
        near, index = distance.topk(min(self.neighbors, len(target)), largest=False)
        reachable = near.isfinite()  # (B, k); topk returns the finite ones first
        pick = torch.rand(len(target), device=target.device) * reachable.sum(1).clamp(min=1)
        return index.gather(1, pick.long()[:, None])[:, 0], reachable[:, 0]


def mean_squared_distance(features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
    """Return ``(B, B)``: the mean over the features that both rows have, infinite without any."""
    total: Tensor | float = 0.0
    width: Tensor | float = 0.0
    for name in sorted(features):
        here = present[name]
        x = features[name].pooled.detach().float().masked_fill(~here[:, None], 0.0)
        both = (here[:, None] & here[None, :]).float()
        # The faster way, a matrix product, would round: copies would not be at distance zero.
        apart = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
        total = total + both * apart.square()
        width = width + both * x.shape[1]
    if not isinstance(total, Tensor) or not isinstance(width, Tensor):
        raise ValueError("there are no features to measure a distance by")
    return torch.where(width > 0, total / width.clamp(min=1), torch.inf)
