"""k-nearest neighbours: how often the most similar rows have the same class."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmx.transfer.scores.base import Score
from mmx.transfer.scores.inputs import ArrayOrTensor, ClassIndices, ScoreFloats, check_labelled

NEIGHBOURS = 20
TIE = 1e-12
"""Similarities that differ by less count as equal."""
BLOCK = 10_000_000
"""Similarities in memory at the same time: 80 MB."""


class KnnAccuracy(Score):
    """The accuracy of a vote of 20 neighbours, or of all others if there are fewer.

    It assumes nothing about the features' distribution: a check on scores that assume a linear
    model.
    """

    rank = 7

    def compute(self, x: Tensor, y: Tensor) -> float:
        """Return the accuracy; see :class:`~mmx.transfer.scores.base.Score`."""
        return knn(x, y, min(NEIGHBOURS, len(x) - 1))


def knn(features: ArrayOrTensor, labels: ArrayOrTensor, k: int) -> float:
    """Return the leave-one-out accuracy of a k-nearest-neighbour classifier.

        kNN = 1/N Σ_n [y_n ∈ W_n] / |W_n|,  W_n = argmax_c |{m ∈ N_k(n): y_m = c}|

    N_k(n) are the k rows nearest to row n, without n itself, by cosine distance
    1 − f_n·f_m / (‖f_n‖ ‖f_m‖); a row of zeros has distance 1 to all others. Rows at the distance
    of the k-th, within 1e-12, are neighbours too, and each neighbour has one vote. Classes with
    the same number of votes share the row: it counts 1/|W_n| if its own class is among them, the
    expected value of a random choice. So the order of rows or classes decides no tie.

    Larger is better, from 0 to 1; the row of a class with one row is always wrong. The score does
    not change if features are rotated or each row is scaled by a positive number; it does if they
    are shifted.

    Args:
        features: ``(N, D)``.
        labels: ``(N,)`` integers.
        k: Neighbours, 1 to N − 1.

    Raises:
        ValueError: ``k`` is not an integer or is out of range; see also
            :mod:`mmx.transfer.scores`.

    Reference: Puigcerver et al. 2021, arXiv 2009.13239; Renggli et al. 2022, arXiv 2010.06402.
    """
    x, y = check_labelled(features, labels)
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise ValueError(f"k must be an integer, got {k!r}")
    if not 1 <= k < len(x):
        raise ValueError(f"k must be from 1 to N − 1 = {len(x) - 1}, got {k}")
    x = _normalize_rows(x)
    size = max(1, BLOCK // len(x))  # rows of a block, whose similarities are (size, N)
    right = sum(
        _count_correct(x, y, start, min(start + size, len(x)), k)
        for start in range(0, len(x), size)
    )
    return right / len(x)


def _normalize_rows(x: ScoreFloats) -> ScoreFloats:
    """Return rows of length 1; rows of zeros stay zero."""
    # First by the largest entry, so that squares neither overflow nor underflow.
    x = x / np.maximum(np.abs(x).max(1, keepdims=True), np.finfo(np.float64).tiny)
    length: ScoreFloats = np.linalg.norm(x, axis=1, keepdims=True)  # at least 1, or 0
    # 0.5 is below every length but 0, which stays 0 / 0.5 = 0
    normalized: ScoreFloats = x / np.maximum(length, 0.5)
    return normalized


def _count_correct(x: ScoreFloats, y: ClassIndices, start: int, stop: int, k: int) -> float:
    """Return how much the rows ``start`` to ``stop`` add to the number of correct rows."""
    rows, targets = stop - start, int(y.max()) + 1
    similar = x[start:stop] @ x.T  # (rows, N)
    similar[np.arange(rows), np.arange(start, stop)] = -np.inf  # leave-one-out
    # topk of torch selects in linear time; only the k-th similarity matters, not which rows tie.
    least = torch.from_numpy(similar).topk(k).values[:, -1:].numpy()
    # flatnonzero of (rows, N) gives row · N + neighbour. Ties at the k-th place all vote.
    row, neighbour = np.divmod(np.flatnonzero(similar >= least - TIE), len(x))
    # One histogram over pairs (row, class), counted as row · C + class.
    counts = np.bincount(row * targets + y[neighbour], minlength=rows * targets)
    votes = counts.reshape(rows, targets)
    winners = votes == votes.max(1, keepdims=True)
    own = winners[np.arange(rows), y[start:stop]]
    # Classes that tie for most votes share the row: 1 / how many they are.
    return float((own / winners.sum(1)).sum())
