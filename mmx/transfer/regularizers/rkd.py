"""Relational knowledge distillation: distances and angles between rows as in the source."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmx.modalities.masking import mean_where
from mmx.transfer.regularizers.base import Penalty, Regularizer, RegularizerContext
from mmx.transfer.regularizers.features import (
    ComparedPenalty,
    Strength,
    compute_distances,
)


class Rkd(Regularizer):
    """Keeps the distances and angles between the rows of a batch, not the positions of the rows.

        R = mean_m [a · mean_{(i,j)} h(d_ij / μ − d0_ij / μ0)
                    + b · mean_{(i,j,k)} h(c_ijk − c0_ijk)]

    d_ij is the distance of rows i and j in modality m, μ its mean over the pairs, c_ijk the
    cosine of the angle at j between i and k, and h(z) = z²/2 up to |z| = 1, then |z| − ½;
    d0, μ0 and c0 are the same of f0. Scale, shift and rotation of the features are free.

    Pairs are all ordered (i, j), and triplets all (i, j, k), of rows that differ in f0: a row
    forms no pair with itself or with a copy of itself. So repeating every row changes nothing, and
    the batch size changes the expectation only through the noise of μ. A batch without a pair or
    triplet gives 0. Memory grows with n³, the number of triplets. Use it when the encoders are
    fresh, of another architecture or of another width than the source's.

    Args:
        strength: λ, the weight of the penalty in the loss.
        distance: a, the weight of the pairs.
        angle: b, the weight of the triplets.

    Reference: Park et al. 2019, arXiv 1904.05068.
    """

    acts_on = "relations"
    needs = frozenset({"model"})
    compares_rows = True
    zero_at_start = True

    def __init__(
        self, *, strength: Strength = 1.0, distance: Strength = 25.0, angle: Strength = 50.0
    ) -> None:
        self.strength = strength
        self.distance = distance
        self.angle = angle

    def bind(self, context: RegularizerContext) -> Penalty:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Regularizer`.

        Raises:
            TransferError: There is no source, or it shares no modality with the target.
        """
        return RkdPenalty(context, self.strength, self.distance, self.angle)


class RkdPenalty(ComparedPenalty):
    """The penalty of :class:`Rkd`.

    Args:
        context: See :class:`~mmx.transfer.regularizers.base.RegularizerContext`.
        strength: λ, the weight of the penalty in the loss.
        distance: a.
        angle: b.
    """

    compares_rows = True

    def __init__(
        self, context: RegularizerContext, strength: float, distance: float, angle: float
    ) -> None:
        super().__init__(context, "rkd", strength)
        self.distance, self.angle = distance, angle

    def term(self, x: Tensor, x0: Tensor) -> Tensor:
        """Return the scalar; see ComparedPenalty."""
        d, d0 = compute_distances(x, x), compute_distances(x0, x0)
        return self.distance * distance_loss(d, d0) + self.angle * angle_loss(d, d0)


def distance_loss(d: Tensor, d0: Tensor) -> Tensor:
    """Return the mean Huber loss of pairwise distances, each in units of their mean.

    Args:
        d: ``(n, n)`` distances of f.
        d0: ``(n, n)`` distances of f0.
    """
    apart = d0 > 0  # (n, n); False on the diagonal and for copies of a row
    # smooth_l1 is Huber's loss with δ = 1.
    each = F.smooth_l1_loss(_in_means(d, apart), _in_means(d0, apart), reduction="none")
    return mean_where(each, apart)


def angle_loss(d: Tensor, d0: Tensor) -> Tensor:
    """Return the mean Huber loss of the cosines of the angles of triplets.

    Args:
        d: ``(n, n)`` distances of f.
        d0: ``(n, n)`` distances of f0.
    """
    apart = d0 > 0
    # All three sides must have a length: i ≠ j, j ≠ k and i ≠ k.
    # (i, j, 1) & (1, j, k) & (i, 1, k)
    triplets = apart[:, :, None] & apart[None, :, :] & apart[:, None, :]  # (i, j, k)
    each = F.smooth_l1_loss(_cosines(d), _cosines(d0), reduction="none")
    return mean_where(each, triplets)


def _in_means(d: Tensor, apart: Tensor) -> Tensor:
    """Return distances in units of their mean over the pairs that are ``apart``."""
    # tiny guards against collapsed features, whose distances are all 0.
    return d / mean_where(d, apart).clamp(min=torch.finfo(d.dtype).tiny)


def _cosines(d: Tensor) -> Tensor:
    """Return ``(i, j, k)`` cosines of the angle at j; 0 where a side has length 0.

    By the law of cosines, cos = (d_ij² + d_jk² − d_ik²) / (2 d_ij d_jk), from the sides of the
    triangle, so that no ``(n, n, D)`` tensor of differences is needed.
    """
    squared = d.square()
    # The law of cosines at j: |ij|² + |jk|² - |ik|², (i, j, k).
    above = squared[:, :, None] + squared[None, :, :] - squared[:, None, :]
    below = 2 * d[:, :, None] * d[None, :, :]  # (i, j, k)
    flat = below == 0
    # Filled before dividing too: masking the quotient alone would leave a gradient of NaN.
    return (above / below.masked_fill(flat, 1.0)).masked_fill(flat, 0.0)
