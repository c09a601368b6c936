"""Similarity-preserving: rows that are alike to the source stay alike."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmx.transfer.regularizers.base import Given, Penalty, Regularizer
from mmx.transfer.regularizers.features import ComparedPenalty, Strength


class Similarity(Regularizer):
    """Holds whom each row of a batch resembles, whatever space the features live in.

        R = mean_m 1/n Σ_i ‖G_i / ‖G_i‖ − G0_i / ‖G0_i‖‖²,  G = f fᵀ, G0 = f0 f0ᵀ

    G_i is row i of G, its similarities to the n rows of the batch that have modality m. A
    mean over rows of the squared distance of two unit vectors, so in [0, 4], and the same for
    a batch twice over.

    The paper's ‖·‖²_F / n² (:func:`similarity`) is 1/n of that: of the n² squares that it
    averages each shrinks with n, since a row of n entries has length 1, and a strength meant
    half as much in a batch twice as large. λ here is the paper's γ divided by the batch: of
    γ = 3000 and 128 rows, 23.

    Args:
        strength: λ.

    Reference: Tung and Mori 2019, arXiv 1907.09682.
    """

    acts_on = "relations"
    needs = frozenset({"model"})
    compares_rows = True
    zero_at_start = True

    def __init__(self, *, strength: Strength = 23.0) -> None:
        self.strength = strength

    def bind(self, given: Given) -> Penalty:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Regularizer`.

        Raises:
            TransferError: There is no source, or it shares no modality with the target.
        """
        return SimilarityPenalty(given, "similarity", self.strength)


class SimilarityPenalty(ComparedPenalty):
    """The penalty of :class:`Similarity`.

    Args:
        given: See :class:`~mmx.transfer.regularizers.base.Given`.
        name: The regulariser's.
        strength: λ.
    """

    def term(self, x: Tensor, x0: Tensor) -> Tensor:
        """Return the scalar; see ComparedPenalty."""
        return len(x) * similarity(x, x0)


def similarity(features: Tensor, reference: Tensor) -> Tensor:
    """Return the paper's ‖G/‖G‖ − G0/‖G0‖‖²_F / n², G = f fᵀ with rows of length 1.

    Args:
        features: f ``(n, D)``.
        reference: f0 ``(n, D0)``.
    """
    rows = F.normalize(features @ features.T, dim=1)
    return (rows - F.normalize(reference @ reference.T, dim=1)).square().mean()
