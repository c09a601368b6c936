"""Triplet loss across modalities."""

from __future__ import annotations

from itertools import permutations
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mmx.modalities.masking import mean_where
from mmx.objectives.base import Criterion, Objective
from mmx.objectives.projections import ProjectedLoss


class Triplet(Objective):
    """Brings rows of one class closer across modalities than rows of different classes.

        e_m = (W_m x_m + b_m) / ‖W_m x_m + b_m‖,  d(x, y) = ‖x - y‖²
        L_ab = mean_{(i, j)} max(d(e_ai, e_bj) - d(e_ai, e_bn) + m, 0)

    Use it to align modalities by class; ``info_nce`` aligns them by row, without labels.

    Anchor i has modality a; positive j (which may be i) and negative n have modality b; i and j
    have the same class, n has another. The mean is over all (i, j) with a negative. L is the
    mean of L_ab over the ordered pairs of modalities with such (i, j), or 0 without any.

    Negatives are semi-hard: n(i, j) is the nearest negative that is farther than the positive
    or, if all are nearer, the farthest one.

    It does not read outputs, so it is a term of ``combined``.

    Args:
        width: Width of the common space.
        margin: m > 0; the largest distance d of two embeddings is 4.

    Reference: Schroff et al. 2015, arXiv 1503.03832.
    """

    kinds = frozenset({"classes"})
    reads_outputs = False
    cross_modal = True
    compares_rows = True

    def __init__(
        self,
        *,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        margin: Annotated[float, Field(gt=0, le=10000)] = 0.2,
    ) -> None:
        self.width = width
        self.margin = margin

    def bind(self, target: Tensor, outputs: int, widths: dict[str, int]) -> Criterion:
        """Return the loss; see :class:`~mmx.objectives.base.Objective`.

        Raises:
            ValueError: There is only one modality.
        """
        self._check_modalities(widths)
        return TripletLoss(widths, self.width, self.margin)


class TripletLoss(ProjectedLoss):
    """The loss of :class:`Triplet`.

    Args:
        widths: Modality to D_m.
        width: Width of the common space.
        margin: m.
    """

    def __init__(self, widths: dict[str, int], width: int, margin: float) -> None:
        super().__init__(widths, width)
        self.margin = margin

    def loss(self, pooled: dict[str, Tensor], present: dict[str, Tensor], target: Tensor) -> Tensor:
        """Return the scalar loss; see FeatureLoss."""
        embedded = self.embed(pooled)
        same = target[:, None] == target[None, :]  # (B, B), anchors by candidates
        losses, found = [], []
        for a, b in permutations(self.modalities, 2):
            # (B, B); ‖x - y‖² = 2 - 2 xᵀy for unit vectors
            distances = 2 - 2 * embedded[a] @ embedded[b].T
            negatives = ~same & present[b][None, :]
            valid = same & present[a][:, None] & present[b][None, :]
            valid = valid & negatives.any(1, keepdim=True)  # an anchor without negatives has no n
            # Mining is a choice of indices, so it needs no gradient.
            to_negative = distances.gather(1, find_semi_hard(distances.detach(), negatives))
            hinge = (distances - to_negative + self.margin).clamp(min=0)
            losses.append(mean_where(hinge, valid))
            found.append(valid.any())
        return mean_where(torch.stack(losses), torch.stack(found))


def find_semi_hard(distances: Tensor, negatives: Tensor) -> Tensor:
    """Return the index of the semi-hard negative for each anchor i and positive j.

    Args:
        distances: ``(B, B)``, from anchors (rows) to candidates (columns).
        negatives: ``(B, B)`` bool, True where the candidate is a negative of the anchor.

    Returns:
        ``(B, B)`` int64; meaningless where an anchor has no negative.
    """
    # Sorted with all other candidates at infinity, hence last.
    ascending, order = distances.masked_fill(~negatives, torch.inf).sort(dim=1, stable=True)
    # The position of the first negative farther than each positive; at most the last negative.
    farther = torch.searchsorted(ascending, distances.contiguous(), right=True)
    last = negatives.sum(1, keepdim=True) - 1
    return order.gather(1, farther.minimum(last).clamp(min=0))
