"""CORAL: keep the covariance of the target's features close to the source's."""

from __future__ import annotations

from torch import Tensor

from mmx.transfer.regularizers.base import Penalty, Regularizer, RegularizerContext
from mmx.transfer.regularizers.features import FeaturePenalty, Strength, take_source_rows


class Coral(Regularizer):
    """Aligns the second moments of the target's and the source's features.

        R = mean_m ‖C_s − C_t‖²_F / (4 D²)

    C_t is the covariance of modality m's features over the n rows of the batch that have m.
    C_s is that of all training rows of the source, computed once. Both divide by the number of
    rows less one. R is a quarter of the mean over the D² entries.

    C_t is unbiased at every batch size, but its noise adds a term of order 1/n to the square.
    Repeating every row multiplies C_t by (2n − 2) / (2n − 1). A batch with a single row of m
    has no covariance, and m is then left out. Use it when source and target show the same things
    under different conditions (domain adaptation); it is cheaper and coarser than ``mmd``.

    Args:
        strength: λ, the weight of the penalty in the loss.

    Reference: Sun and Saenko 2016, arXiv 1607.01719.
    """

    acts_on = "features"
    needs = frozenset({"source_rows"})
    compares_rows = True

    def __init__(self, *, strength: Strength = 1.0) -> None:
        self.strength = strength

    def bind(self, context: RegularizerContext) -> Penalty:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Regularizer`.

        Raises:
            TransferError: No modality of the target has two rows in the source.
        """
        return CoralPenalty(take_source_rows(context, "coral", fewest=2), self.strength)


class CoralPenalty(FeaturePenalty):
    """The penalty of :class:`Coral`.

    Args:
        source: Modality to the ``(N, D)`` f0 of the source's rows. Only their covariance is kept,
            and no checkpoint holds it.
        strength: λ, the weight of the penalty in the loss.
    """

    compares_rows = True

    fewest = 2

    def __init__(self, source: dict[str, Tensor], strength: float) -> None:
        super().__init__(tuple(source), strength)
        for name, rows in source.items():
            # In float64: products of N rows lose digits in float32.
            matrix = covariance(rows.double()).to(rows)
            self.register_buffer(f"covariance_{name}", matrix, persistent=False)

    def term(self, name: str, x: Tensor) -> Tensor:
        """Return the scalar; see FeaturePenalty."""
        return coral(self.get_buffer(f"covariance_{name}"), covariance(x))


def coral(source: Tensor, target: Tensor) -> Tensor:
    """Return ‖C_s − C_t‖²_F / (4 D²) of two ``(D, D)`` covariances."""
    return (source - target).square().mean() / 4  # a mean over D² entries is ‖·‖²_F / D²


def covariance(x: Tensor) -> Tensor:
    """Return the ``(D, D)`` covariance of ``(n, D)`` rows, n ≥ 2, divided by n − 1."""
    # Each batch by its own mean: CORAL compares second moments only.
    centred = x - x.mean(0)
    return centred.T @ centred / (len(x) - 1)
