"""The column space of a feature matrix, and the sums of its rows by class."""

from __future__ import annotations

import numpy as np

from mmx.transfer.scores.inputs import ClassIndices, ScoreFloats


def column_space(x: ScoreFloats) -> tuple[ScoreFloats, ScoreFloats]:
    """Return left singular vectors ``(N, r)`` and singular values ``(r,)``, r being the rank.

    Computed from the matrix itself, since its Gram matrix would lose half of the digits.
    Singular values below 10 max(N, D) ε times the largest count as zero.
    """
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    # Ten times the tolerance of NumPy's matrix_rank.
    kept = singular > singular[0] * 10 * max(x.shape) * np.finfo(np.float64).eps
    return left[:, kept], singular[kept]


def class_sums(x: ScoreFloats, y: ClassIndices) -> ScoreFloats:
    """Return the ``(C, D)`` sums of the rows ``(N, D)`` of each class, ``one_hot(y)ᵀ x``."""
    order = np.argsort(y, kind="stable")
    # The index at which each class starts among the sorted rows; every class has a row.
    starts = np.flatnonzero(np.diff(y[order], prepend=-1))
    sums: ScoreFloats = np.add.reduceat(x[order], starts, axis=0)
    return sums
