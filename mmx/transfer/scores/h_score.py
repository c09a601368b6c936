"""H-score: how much of the features' variance lies between classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from mmx.transfer.scores.base import Score
from mmx.transfer.scores.inputs import Array, ScoreFloats, check_labelled
from mmx.transfer.scores.spectrum import class_sums, column_space

SHOWN_TO = 5e-4
"""Scores that differ by less are shown as equal."""


class HScore(Score):
    """H-score as it is.

    It has no vote: it is C − 1 for any features of D ≥ N − 1, and where it says something, its
    shrunk form says it too.
    """

    rank = 2
    votes = False

    def compute(self, x: Tensor, y: Tensor) -> float:
        """Return it; see :class:`~mmx.transfer.scores.base.Score`."""
        return h_score(x, y)

    def remark(self, values: Sequence[float | None]) -> str:
        """Return a word where it is C − 1 for all: no candidate can have more."""
        most = round(values[0]) if values and values[0] is not None else 0
        if most < 1 or any(value is None or abs(value - most) >= SHOWN_TO for value in values):
            return ""
        every = "every candidate" if len(values) > 1 else "this candidate"
        return (
            f"h_score {most:.3f} says nothing here: it is at its most, the number of classes less "
            f"one, for {every}, as it is for any features that are nearly as many as the rows; "
            "h_score_shrunk counts in its place"
        )


def h_score(features: Array, labels: Array, shrinkage: bool = False) -> float:
    """Return the variance between classes in units of the features' covariance.

        H = tr(Σ⁺ Σ_B)
        H_shrunk = (1 − a) tr(((1 − a) Σ + a tr(Σ)/D · I)⁻¹ Σ_B)

    Σ is the covariance of the features, Σ⁺ its pseudo-inverse, Σ_B the covariance of the
    features when each row is replaced by the mean of its class (all divided by N), and a the
    shrinkage of Ledoit and Wolf. With Σ = V S² Vᵀ/N both are sums of |U's class means|² over
    singular directions, so nothing is inverted. H is C − 1 for any N rows in general position
    where D ≥ N − 1, and says nothing there: shrink.

    Larger is better, from 0 (all classes have one mean; features that do not vary) to
    min(D, C − 1). H does not change under any invertible affine map of the features; shrunk,
    not when they are shifted, rotated or scaled all alike.

    Args:
        features: ``(N, D)``.
        labels: ``(N,)`` integers.
        shrinkage: Estimate the covariance by Ledoit and Wolf; for few rows.

    Raises:
        ValueError: See :mod:`mmx.transfer.scores`.

    Reference: Bao et al. 2019, arXiv 2212.10082; shrinkage: Ibrahim et al. 2021,
    arXiv 2110.06893, after Ledoit and Wolf 2004.
    """
    x, y = check_labelled(features, labels)
    x = _centre(x, unit=not shrinkage)
    left, singular = column_space(x)
    between = (class_sums(left, y) ** 2 / np.bincount(y)[:, None]).sum(0)  # (r,), each ≤ 1
    if not shrinkage:
        return float(between.sum())
    variance = singular**2 / len(x)
    share = _ledoit_wolf(x, variance)
    kept = (1 - share) * variance
    return float((between * kept / (kept + share * variance.sum() / x.shape[1])).sum())


def _centre(x: ScoreFloats, unit: bool) -> ScoreFloats:
    """Return features of mean 0; each of length 1 if ``unit``, which H does not notice."""
    largest = np.abs(x).max(0 if unit else None)
    x = np.ldexp(x, -np.frexp(largest)[1])  # by powers of two: no digit of x is lost
    mean = x.mean(0)
    x = x - mean
    centred: ScoreFloats = x - x.mean(
        0
    )  # else the rounding of the mean would be one more direction
    length = np.linalg.norm(centred, axis=0)
    # What is left of a constant is the rounding of its mean.
    varies = length > len(x) ** 1.5 * np.finfo(np.float64).eps * np.abs(mean)
    scale = np.where(varies, length, 1.0) if unit else 1.0
    return np.where(varies, centred / scale, 0.0)


def _ledoit_wolf(x: ScoreFloats, variance: ScoreFloats) -> float:
    """Return the weight of the scaled identity that is best in expected squared error.

    Args:
        x: ``(N, D)`` centred.
        variance: ``(r,)`` eigenvalues of its covariance that are not 0.
    """
    rows, width = x.shape
    mean = variance.sum() / width
    distance = ((variance - mean) ** 2).sum() + (width - len(variance)) * mean**2
    fourth = ((x**2).sum(1) ** 2).mean()
    error = min((fourth - (variance**2).sum()) / rows, distance)
    return float(error / distance) if error > 0 else 0.0
