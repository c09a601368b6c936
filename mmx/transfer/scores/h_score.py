"""H-score: the share of the features' variance that lies between classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from mmx.transfer.scores.base import Score
from mmx.transfer.scores.inputs import ArrayOrTensor, ScoreFloats, check_labelled
from mmx.transfer.scores.spectrum import class_sums, column_space

SHOWN_TO = 5e-4
"""Scores that differ by less are shown as equal."""


class HScore(Score):
    """H-score with the plain covariance.

    It has no vote: it is C − 1 for any features of D ≥ N − 1, and where it is informative, so is
    its shrunk form.
    """

    rank = 2
    votes = False

    def compute(self, x: Tensor, y: Tensor) -> float:
        """Return the H-score; see :class:`~mmx.transfer.scores.base.Score`."""
        return h_score(x, y)

    def remark(self, values: Sequence[float | None]) -> str:
        """Return a remark if the score is C − 1, its maximum, for every candidate."""
        most = round(values[0]) if values and values[0] is not None else 0
        if most < 1 or any(value is None or abs(value - most) >= SHOWN_TO for value in values):
            return ""
        every = "every candidate" if len(values) > 1 else "this candidate"
        return (
            f"h_score {most:.3f} says nothing here: it is at its most, the number of classes less "
            f"one, for {every}, as it is for any features that are nearly as many as the rows; "
            "h_score_shrunk counts in its place"
        )


def h_score(features: ArrayOrTensor, labels: ArrayOrTensor, shrinkage: bool = False) -> float:
    """Return the variance between classes in units of the features' covariance.

        H = tr(Σ⁺ Σ_B)
        H_shrunk = (1 − a) tr(((1 − a) Σ + a tr(Σ)/D · I)⁻¹ Σ_B)

    Σ is the covariance of the features, Σ⁺ its pseudo-inverse, Σ_B the covariance of the
    features when each row is replaced by the mean of its class (all divided by N), and a the
    shrinkage of Ledoit and Wolf. With the singular value decomposition F = U S Vᵀ both are sums of
    |U's class means|² over singular directions, so that no matrix is inverted. H is C − 1 for any
    N rows in general position if D ≥ N − 1, and then says nothing: use shrinkage.

    Larger is better, from 0 (all classes have the same mean, or features do not vary) to
    min(D, C − 1). H does not change under any invertible affine map of the features. The shrunk
    form does not change if all features are shifted, rotated or scaled together.

    Args:
        features: ``(N, D)``.
        labels: ``(N,)`` integers.
        shrinkage: Whether to estimate the covariance by Ledoit and Wolf; for few rows.

    Raises:
        ValueError: See :mod:`mmx.transfer.scores`.

    Reference: Bao et al. 2019, arXiv 2212.10082; shrinkage: Ibrahim et al. 2021,
    arXiv 2110.06893, after Ledoit and Wolf 2004.
    """
    x, y = check_labelled(features, labels)
    x = _centre(x, unit=not shrinkage)
    left, singular = column_space(x)
    # Uᵀ of the class sums, squared, over N_c: trace of Σ⁻¹ Σ_between without an inverse.
    between = (class_sums(left, y) ** 2 / np.bincount(y)[:, None]).sum(0)  # (r,), each ≤ 1
    if not shrinkage:
        return float(between.sum())
    variance = singular**2 / len(x)  # (r,) eigenvalues of Σ
    share = _ledoit_wolf(x, variance)
    # In the basis V the shrunk covariance is diagonal: kept + share · tr(Σ)/D. Directions outside
    # the features' span have no class means, so they add nothing.
    kept = (1 - share) * variance
    # tr(Σ) / D is the variance of the identity that is mixed in
    return float((between * kept / (kept + share * variance.sum() / x.shape[1])).sum())


def _centre(x: ScoreFloats, unit: bool) -> ScoreFloats:
    """Return centred features; scaled to length 1 if ``unit``, which does not change H."""
    # A shrunk covariance depends on the features' relative scales: then one factor for all.
    largest = np.abs(x).max(0 if unit else None)
    # Scaled by powers of two, so that no square overflows and no digit of x is lost.
    x = np.ldexp(x, -np.frexp(largest)[1])
    mean = x.mean(0)
    x = x - mean
    # Centred twice: otherwise the rounding of the mean would be one more direction.
    centred: ScoreFloats = x - x.mean(0)
    length = np.linalg.norm(centred, axis=0)
    # A constant feature leaves the rounding of its mean, and must not be scaled up.
    # A mean of N terms is off by up to N eps |mean|, alike in N entries: times √N in length.
    varies = length > len(x) ** 1.5 * np.finfo(np.float64).eps * np.abs(mean)
    scale = np.where(varies, length, 1.0) if unit else 1.0
    return np.where(varies, centred / scale, 0.0)


def _ledoit_wolf(x: ScoreFloats, variance: ScoreFloats) -> float:
    """Return the weight a of the scaled identity with the least expected squared error.

        a = min(error, distance) / distance,  distance = ‖Σ − tr(Σ)/D I‖²_F
        error = 1/N² Σ_n ‖x_n x_nᵀ − Σ‖²_F

    Args:
        x: ``(N, D)`` centred.
        variance: ``(r,)`` eigenvalues of its covariance that are not 0.
    """
    rows, width = x.shape
    mean = variance.sum() / width
    # width − r eigenvalues are 0, and also differ from the mean.
    distance = ((variance - mean) ** 2).sum() + (width - len(variance)) * mean**2
    fourth = ((x**2).sum(1) ** 2).mean()  # of ‖x_n x_nᵀ‖²_F = ‖x_n‖⁴
    # the estimated error of Σ, never more than the whole distance
    error = min((fourth - (variance**2).sum()) / rows, distance)
    return float(error / distance) if error > 0 else 0.0
