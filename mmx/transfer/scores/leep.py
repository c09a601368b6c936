"""LEEP: the log-likelihood of the source classifier, read as a classifier of target classes."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from mmx.transfer.scores.base import Score
from mmx.transfer.scores.inputs import ArrayOrTensor, check_classes, check_matrix, check_same_rows
from mmx.transfer.scores.spectrum import class_sums

SUM_TOLERANCE = 0.01


class Leep(Score):
    """The log-likelihood of target classes under the source's predicted probabilities.

    It reads the source's outputs: use it when the source's head, and not its features alone, is
    expected to matter.
    """

    rank = 4
    reads_source_outputs = True

    def compute(self, x: Tensor, y: Tensor) -> float:
        """Return the LEEP score; see :class:`~mmx.transfer.scores.base.Score`."""
        return leep(x, y)


def leep(source_probabilities: ArrayOrTensor, labels: ArrayOrTensor) -> float:
    """Return the mean log-likelihood of the expected empirical prediction.

        LEEP = 1/N Σ_n log Σ_z P(y_n | z) θ_nz,  P(y, z) = 1/N Σ_{n: y_n = y} θ_nz

    θ_n are the probabilities of the source model's own classes for row n.

    Larger is better, from minus the entropy of the labels, at least −log C (the source classes
    say nothing about them), to 0. The order and the names of the source classes do not matter
    either. One-hot θ gives :func:`~mmx.transfer.scores.nce`.

    Args:
        source_probabilities: θ ``(N, Z)``. Rows must sum to 1 within 0.01, the accuracy of half
            precision, and are divided by their sum.
        labels: ``(N,)`` integers.

    Raises:
        ValueError: Probabilities are negative or do not sum to 1; see also
            :mod:`mmx.transfer.scores`.

    Reference: Nguyen et al. 2020, arXiv 2002.12462.
    """
    name = "source_probabilities"
    theta, y = check_matrix(source_probabilities, name), check_classes(labels, "labels")
    check_same_rows(theta, name, y, "labels")
    if theta.min() < 0:
        raise ValueError(f"{name} must not be negative, got {theta.min():g}")
    totals = theta.sum(1)
    worst = int(np.abs(totals - 1).argmax())
    if abs(totals[worst] - 1) > SUM_TOLERANCE:
        raise ValueError(f"rows of {name} must sum to 1, row {worst} sums to {totals[worst]:g}")
    theta /= totals[:, None]
    joint = class_sums(theta, y)  # (C, Z), N times P(y, z)
    marginal = joint.sum(0)
    # A source class that no row has any probability of: 0 / 1 in place of 0 / 0.
    conditional = joint / np.where(marginal > 0, marginal, 1.0)
    # (N,), Σ_z P(y_n | z) θ_nz; above 0, since row n itself is part of P(y_n, z).
    likelihood = np.einsum("nz,nz->n", theta, conditional[y])
    return min(float(np.log(likelihood).mean()), 0.0)  # rounding may give a likelihood above 1
