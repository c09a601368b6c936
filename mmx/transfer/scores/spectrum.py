"""The column space of a feature matrix, and how labels lie in it."""

from __future__ import annotations

import numpy as np

from mmx.transfer.scores.inputs import ClassIndices, ScoreFloats


def column_space(x: ScoreFloats) -> tuple[ScoreFloats, ScoreFloats]:
    """Return left singular vectors ``(N, r)`` and singular values ``(r,)``, r being the rank.

    From the matrix itself, since the products of its Gram matrix lose half of the digits.
    Singular values within 10 max(N, D) times the rounding of the largest count as zero.
    """
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    kept = singular > singular[0] * 10 * max(x.shape) * np.finfo(np.float64).eps
    return left[:, kept], singular[kept]


def class_sums(x: ScoreFloats, y: ClassIndices) -> ScoreFloats:
    """Return ``(C, D)``: the sum of the rows ``(N, D)`` of each class, so ``one_hot(y)ᵀ x``."""
    order = np.argsort(y, kind="stable")
    starts = np.flatnonzero(np.diff(y[order], prepend=-1))
    sums: ScoreFloats = np.add.reduceat(x[order], starts, axis=0)
    return sums
