"""Batch spectral shrinkage: suppress the weakest directions of the features."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mmx.transfer.regularizers.base import Penalty, Regularizer, RegularizerContext
from mmx.transfer.regularizers.features import FeaturePenalty, Strength


class Bss(Regularizer):
    """Shrinks the smallest singular values of a batch's features, which transfer worst.

        R = mean_m 1/n Σ_{j=1..k} σ_{-j}²

    σ_{-j} is the j-th smallest of the min(n, D) singular values of modality m's features
    ``(n, D)``, where n counts the rows of the batch that have m. The sum grows with the number of
    rows, so it is divided by it: σ²/n is the mean square of the features along one direction, and
    repeating every row changes nothing if n ≥ D. The paper does not divide: λ here is its η
    times the batch size.

    If n < D, as in the paper, there are only n singular values, and the smallest says how
    far the rows are from being linearly dependent. It then falls as n approaches D, and is 0 in a
    batch that has a row twice. Use a narrower encoder or larger batches if λ has to mean the same
    at every batch size. Use it against negative transfer: when fine-tuning does worse than
    training from scratch.

    Args:
        strength: λ, the weight of the penalty in the loss.
        k: How many singular values are penalised.

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

    def bind(self, context: RegularizerContext) -> Penalty:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Regularizer`."""
        return BssPenalty(tuple(sorted(context.widths)), self.strength, self.k)


class BssPenalty(FeaturePenalty):
    """The penalty of :class:`Bss`.

    Args:
        modalities: Names of the target's modalities.
        strength: λ, the weight of the penalty in the loss.
        k: Singular values.
    """

    compares_rows = True

    def __init__(self, modalities: tuple[str, ...], strength: float, k: int) -> None:
        super().__init__(modalities, strength)
        self.k = k

    def term(self, name: str, x: Tensor) -> Tensor:
        """Return the scalar; see FeaturePenalty."""
        # Divided by the rows: the squared singular values grow with the batch.
        return bss(x, self.k) / len(x)


def bss(features: Tensor, k: int) -> Tensor:
    """Return the sum of the ``k`` smallest squared singular values, or of all if there are fewer.

    Args:
        features: ``(n, D)``.
        k: How many of the min(n, D).
    """
    if not bool(features.isfinite().all()):
        # The sum is not finite either, so training reports divergence. svdvals would raise instead.
        return features.sum()
    # In descending order. Unlike that of full SVD, the gradient of svdvals does not divide by the
    # gaps between singular values, so equal ones are safe.
    values: Tensor = torch.linalg.svdvals(features)
    return values[-k:].square().sum()  # a slice that is longer than the tensor takes all of it
