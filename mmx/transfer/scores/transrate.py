"""TransRate: how much shorter a code of the features becomes when the labels are known."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from mmx.transfer.scores.base import Score
from mmx.transfer.scores.inputs import ArrayOrTensor, ScoreFloats, check_labelled


class TransRate(Score):
    """How much shorter a code of the features becomes when the labels are known.

    Use it with features of one scale; it counts how much of their volume separates classes.
    """

    rank = 6

    def compute(self, x: Tensor, y: Tensor) -> float:
        """Return TransRate; see :class:`~mmx.transfer.scores.base.Score`."""
        return transrate(x, y)


def transrate(features: ArrayOrTensor, labels: ArrayOrTensor, eps: float = 1e-4) -> float:
    """Return the coding rate of all features minus that within classes, in nats.

        TrR = R(F) − Σ_c N_c/N · R(F_c),  R(A) = ½ log det(I + Aᵀ A / (rows(A) · ε))

    F is centred; F_c are its rows of class c, and are not centred again. Classes are weighted by
    their number of rows. Since R is concave, TrR is then never negative; for classes of equal
    size this is the plain mean of the paper's listing.

    Larger is better, from 0 (every class has the same second moments) to R(F). The score does not
    change if features are shifted, rotated or padded with zeros. It does if they are scaled
    relative to the distortion ε: bring the features of different sources to one scale before
    comparing their scores.

    Args:
        features: ``(N, D)``.
        labels: ``(N,)`` integers.
        eps: Squared distortion ε of the code, above 0.

    Raises:
        ValueError: ``eps`` is not above 0 and finite; see also :mod:`mmx.transfer.scores`.

    Reference: Huang et al. 2022, arXiv 2106.09362.
    """
    if not 0 < eps < np.inf:
        raise ValueError(f"eps must be above 0 and finite, got {eps}")
    x, y = check_labelled(features, labels)
    x = x - x.mean(0)
    counts = np.bincount(y)
    # one array of rows for each class
    ordered = np.split(x[np.argsort(y, kind="stable")], counts.cumsum()[:-1])
    within = [_coding_rate(rows, eps) for rows in ordered]
    # Rates within classes, weighted by their rows; cut at 0, where rounding may fall below.
    return max(_coding_rate(x, eps) - float(counts @ within) / len(x), 0.0)


def _coding_rate(x: ScoreFloats, eps: float) -> float:
    """Return ½ log det(I + xᵀ x / (N ε)), from the smaller of xᵀ x and x xᵀ.

    With A = x/√(N ε) the triangle R of [A; I] has RᵀR = I + AᵀA. The product itself, in which
    large directions would round away small ones, is never computed.
    """
    # The determinant is that of the smaller Gram matrix (Sylvester): det(I + AᵀA) = det(I + AAᵀ).
    scaled = (x if x.shape[0] >= x.shape[1] else x.T) / np.sqrt(len(x) * eps)
    # R of [A; I] has RᵀR = AᵀA + I, without the squares that would lose half of the digits.
    triangle = np.linalg.qr(np.concatenate([scaled, np.eye(scaled.shape[1])]), mode="r")
    # ½ log det(RᵀR) = Σ log |R_ii|
    return float(np.log(np.abs(np.diagonal(triangle))).sum())
