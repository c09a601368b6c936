"""SMOTE on features: new rows between neighbours of a rare class."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from mmx.balance.base import Balance, Mixed, RowArray, interpolate
from mmx.balance.resample import balanced
from mmx.modalities import Features

SAME = 1e-9
"""Rows nearer than this part of the batch's largest squared distance are the same row, drawn
twice; between two copies there is nothing new."""


class SmoteFeatures(Balance):
    """Fills rare classes up with points between a row and a neighbour of its class.

        x = x_i + u (x_j - x_i),  u ~ U(0, 1),  j one of the k nearest of i's class

    Every class is drawn equally often, as by ``resample``; of a class with n_c rows and a
    share of q, a part 1 - n_c / q of its rows is thereby a repetition, and with that chance
    a row is moved. Neighbours are looked for among the batch, by the Euclidean distance of
    the pooled features of the modalities that both rows have, a mean over those features.
    Copies of the row itself, drawn again, are no neighbours. A row without a neighbour of
    its class stays as it is.

    Args:
        neighbors: k.

    Reference: Chawla et al. 2002, JAIR 16.
    """

    compares_rows = True

    def __init__(self, *, neighbors: Annotated[int, Field(ge=1, le=100_000)] = 5) -> None:
        self.neighbors = neighbors

    def draw(self, rows: RowArray, labels: RowArray, generator: np.random.Generator) -> RowArray:
        """Return as many rows as there were, every class as often as any other but for one."""
        return balanced(rows, labels, generator)

    def mix(
        self,
        features: dict[str, Features],
        present: dict[str, Tensor],
        target: Tensor,
        counts: Tensor,
    ) -> Mixed:
        """Return the batch with repeated rows moved; see :class:`~mmx.balance.base.Balance`."""
        quota = counts.sum() / (counts > 0).sum()
        repeated = (1 - counts / quota).clamp(min=0)[target]
        moved = torch.rand(len(target), device=target.device) < repeated
        partner, found = self._neighbour(features, present, target)
        share = 1 - torch.rand(len(target), device=target.device) * (moved & found)
        return Mixed(interpolate(features, present, partner, share), target)

    def _neighbour(
        self, features: dict[str, Features], present: dict[str, Tensor], target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return ``(B,)`` a near row of the same class, and whether there is one."""
        distance = mean_squared_distance(features, present)
        strangers = target[:, None] != target[None, :]
        farthest = distance.masked_fill(distance.isinf(), 0.0).max()
        distance = distance.masked_fill(strangers | (distance <= SAME * farthest), torch.inf)
        near, index = distance.topk(min(self.neighbors, len(target)), largest=False)
        reachable = near.isfinite()  # those come first
        pick = torch.rand(len(target), device=target.device) * reachable.sum(1).clamp(min=1)
        return index.gather(1, pick.long()[:, None])[:, 0], reachable[:, 0]


def mean_squared_distance(features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
    """Return ``(B, B)``: over all features that both rows have; infinite where there is none."""
    total: Tensor | float = 0.0
    width: Tensor | float = 0.0
    for name in sorted(features):
        here = present[name]
        x = features[name].pooled.detach().float().masked_fill(~here[:, None], 0.0)
        both = (here[:, None] & here[None, :]).float()
        # By a matrix product, copies of a row would not be at distance zero.
        apart = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
        total = total + both * apart.square()
        width = width + both * x.shape[1]
    if not isinstance(total, Tensor) or not isinstance(width, Tensor):
        raise ValueError("there are no features to measure a distance by")
    return torch.where(width > 0, total / width.clamp(min=1), torch.inf)
