"""Batch spectral shrinkage: fade out the features' weakest directions."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mmx.transfer.regularizers.base import Given, Penalty, Regularizer
from mmx.transfer.regularizers.features import FeaturePenalty, Strength


class Bss(Regularizer):
    """Shrinks the smallest singular values of a batch's features, which transfer worst.

        R = mean_m 1/n Σ_{j=1..k} σ_{-j}²

    σ_{-j} is the j-th smallest of the min(n, D) singular values of modality m's features
    ``(n, D)`` in the batch, n the rows that have it. The sum grows with the rows, so it is
    divided by their number: σ²/n is the mean square of the features along a direction, and a
    batch twice over changes nothing where n ≥ D. The paper does not divide: λ here is its η
    times the batch.

    Where n < D, as in the paper, there are only n singular values, and the smallest says how
    far the rows are from being linearly dependent: there it falls as n nears D, and in a batch
    with a row twice it is 0. Give such features a narrower encoder or larger batches if λ has
    to mean the same at every batch size.

    Args:
        strength: λ.
        k: Singular values that are held.

    Reference: Chen et al. 2019, Catastrophic forgetting meets negative transfer.
    """

    acts_on = "features"
    needs = frozenset({"weights"})
    compares_rows = True

    def __init__(
        self, *, strength: Strength = 0.001, k: Annotated[int, Field(ge=1, le=100_000)] = 1
    ) -> None:
        self.strength = strength
        self.k = k

    def bind(self, given: Given) -> Penalty:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Regularizer`."""
        return BssPenalty(tuple(sorted(given.widths)), self.strength, self.k)


class BssPenalty(FeaturePenalty):
    """The penalty of :class:`Bss`.

    Args:
        modalities: Of the target, by name.
        strength: λ.
        k: Singular values.
    """

    def __init__(self, modalities: tuple[str, ...], strength: float, k: int) -> None:
        super().__init__(modalities, strength)
        self.k = k

    def term(self, name: str, x: Tensor) -> Tensor:
        """Return the scalar; see FeaturePenalty."""
        return bss(x, self.k) / len(x)


def bss(features: Tensor, k: int) -> Tensor:
    """Return the sum of the ``k`` smallest squared singular values, or of all if there are fewer.

    Args:
        features: ``(n, D)``.
        k: How many of the min(n, D).
    """
    if not bool(features.isfinite().all()):
        return features.sum()  # not finite, as it should be: the decomposition would raise
    values: Tensor = torch.linalg.svdvals(features)  # descending; its gradient divides by no gap
    return values[-k:].square().sum()
