"""Similarity-preserving distillation: rows that the source finds similar stay similar."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmx.transfer.regularizers.base import Penalty, Regularizer, RegularizerContext
from mmx.transfer.regularizers.features import ComparedPenalty, Strength


class Similarity(Regularizer):
    """Keeps the similarities between the rows of a batch, in whatever space the features lie.

        R = mean_m 1/n Σ_i ‖G_i / ‖G_i‖ − G0_i / ‖G0_i‖‖²,  G = f fᵀ, G0 = f0 f0ᵀ

    G_i is row i of G, the similarities of row i to the n rows of the batch that have modality m.
    R is a mean over rows of the squared distance between two unit vectors. It therefore lies in
    [0, 4], and repeating every row changes nothing.

    The paper's ‖·‖²_F / n² (:func:`similarity`) is 1/n of that, so that a strength would mean
    half as much in a batch twice as large. λ here is the paper's γ divided by the batch size:
    23 for γ = 3000 and 128 rows. Use it as ``rkd``, when encoders are fresh or differ from the
    source's; it is the cheaper of the two, with memory n² in place of n³.

    Args:
        strength: λ, the weight of the penalty in the loss.

    Reference: Tung and Mori 2019, arXiv 1907.09682.
    """

    acts_on = "relations"
    needs = frozenset({"model"})
    compares_rows = True
    zero_at_start = True

    def __init__(self, *, strength: Strength = 23.0) -> None:
        self.strength = strength

    def bind(self, context: RegularizerContext) -> Penalty:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Regularizer`.

        Raises:
            TransferError: There is no source, or it shares no modality with the target.
        """
        return SimilarityPenalty(context, "similarity", self.strength)


class SimilarityPenalty(ComparedPenalty):
    """The penalty of :class:`Similarity`.

    Args:
        context: See :class:`~mmx.transfer.regularizers.base.RegularizerContext`.
        name: Name of the regulariser.
        strength: λ, the weight of the penalty in the loss.
    """

    compares_rows = True

    def term(self, x: Tensor, x0: Tensor) -> Tensor:
        """Return the scalar; see ComparedPenalty."""
        return len(x) * similarity(x, x0)  # n · ‖·‖²_F / n² = 1/n Σ_i ‖row i‖²


def similarity(features: Tensor, reference: Tensor) -> Tensor:
    """Return the paper's ‖G/‖G‖ − G0/‖G0‖‖²_F / n², G = f fᵀ with rows of length 1.

    Args:
        features: f ``(n, D)``.
        reference: f0 ``(n, D0)``.
    """
    rows = F.normalize(features @ features.T, dim=1)  # (n, n), row i is G_i / ‖G_i‖
    # a mean over n² entries is ‖·‖²_F / n²
    return (rows - F.normalize(reference @ reference.T, dim=1)).square().mean()
