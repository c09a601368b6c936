"""LogME: the evidence of a Bayesian linear model from features to labels."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from mmx.transfer.scores.base import Score
from mmx.transfer.scores.inputs import ArrayOrTensor, ScoreFloats, check_labelled
from mmx.transfer.scores.spectrum import class_sums, column_space

LEAST_NOISE = 1e-8
"""Bound of the noise variance 1/β, for labels that the features explain exactly."""
STEP = 0.5
"""Distance of grid points in log λ."""
ZOOMS = 14
"""Refinements of a peak; each makes the step four times smaller."""


class LogMe(Score):
    """The evidence of a Bayesian linear model on the features.

    The evidence penalises overfitting by itself, so that no rows have to be held out.
    """

    rank = 1

    def compute(self, x: Tensor, y: Tensor) -> float:
        """Return LogME; see :class:`~mmx.transfer.scores.base.Score`."""
        return logme(x, y)


def logme(features: ArrayOrTensor, labels: ArrayOrTensor) -> float:
    """Return the maximum evidence per row, a mean over one-versus-rest targets.

        LogME = 1/(C N) Σ_c max_{α,β} log ∫ N(y_c | F w, β⁻¹ I) N(w | 0, α⁻¹ I) dw

    F are the features, neither centred nor extended by a bias; y_c is 1 for rows of class
    c, else 0. With F = U S Vᵀ and λ = α/β the best noise 1/β for a given λ is known,

        q(λ) = Σ_i (u_iᵀ y)² λ/(λ + s_i²) + ‖y − U Uᵀ y‖²,  1/β = q(λ)/N,

    which leaves a search over one number. Every peak on a grid over log λ is refined, and
    λ = ∞, where the features explain nothing, is tried too. The result is the global maximum,
    whereas the alternating updates of α and β in the paper may stop at a lower one or earlier.
    Labels in the span of fewer than N directions would have unbounded evidence at
    1/β = 0, so 1/β is at least 1e-8.

    Larger is better, from −(1 + log 2π)/2 = −1.42 to −log(2π · 1e-8)/2 = 8.29. The score does not
    change if features are scaled, rotated or padded with zeros; it does if they are shifted.

    Args:
        features: ``(N, D)``.
        labels: ``(N,)`` integers.

    Raises:
        ValueError: See :mod:`mmx.transfer.scores`.

    Reference: You et al. 2021, arXiv 2102.11005.
    """
    x, y = check_labelled(features, labels)
    left, singular = column_space(x)
    spectrum = (singular / singular.max(initial=0.0)) ** 2  # relative: λ takes up the scale
    # yᵀU for each one-versus-rest target y: how much of it each direction explains.
    explained = class_sums(left, y) ** 2  # (C, r)
    # ‖y‖² of a column of zeros and ones is its number of ones.
    rest = np.maximum(np.bincount(y) - explained.sum(1), 0.0)  # (C,), ‖y − U Uᵀ y‖² ≥ 0
    grid = _grid(spectrum, len(x))
    rough = _evidence(grid, spectrum, explained, rest, len(x))  # (C, G)
    best = rough[:, -1].copy()
    for c, values in enumerate(rough):
        own = slice(c, c + 1)
        for peak in _peaks(values):
            found = _refine_peak(grid[peak], spectrum, explained[own], rest[own], len(x))
            best[c] = max(best[c], found)
    return float(best.mean())


def _grid(spectrum: ScoreFloats, rows: int) -> ScoreFloats:
    """Return the ``(G,)`` values of log λ to try, the last being infinity.

    No maximum lies below the first; beyond the last finite one the evidence is flat.
    """
    if len(spectrum) == 0:
        return np.array([np.inf])
    lowest = np.log(spectrum.min()) + np.log(LEAST_NOISE / rows) - 1
    return np.append(np.arange(lowest, np.log(1e8), STEP), np.inf)


def _evidence(
    logs: ScoreFloats, spectrum: ScoreFloats, explained: ScoreFloats, rest: ScoreFloats, rows: int
) -> ScoreFloats:
    """Return the evidence per row ``(C, G)`` at values ``(G,)`` of log λ."""
    # s_i² / λ, and λ / (λ + s_i²) = 1 / (1 + ratio); 0 and 1 for λ = ∞.
    ratio = spectrum[:, None] / np.exp(logs)  # (r, G)
    misfit = explained @ (1 / (1 + ratio)) + rest[:, None]  # (C, G)
    noise = np.maximum(misfit / rows, LEAST_NOISE)
    volume = np.log1p(ratio).sum(0)  # (G,), log det(I + FᵀF / λ): the Occam factor
    # With the best β for this λ; misfit / noise is N unless the noise is at its bound.
    found: ScoreFloats = -0.5 * (np.log(2 * np.pi * noise) + (volume + misfit / noise) / rows)
    return found


def _peaks(values: ScoreFloats) -> list[int]:
    """Return the indices of the finite grid points that are no lower than their neighbours."""
    # −∞ before the first point: it counts as a peak if the evidence falls from there on.
    # The last point, λ = ∞, is a neighbour too, but no peak to refine: `best` starts with it.
    padded = np.concatenate([[-np.inf], values])
    highest = (padded[1:-1] >= padded[:-2]) & (padded[1:-1] >= padded[2:])
    found: list[int] = np.flatnonzero(highest).tolist()
    return found


def _refine_peak(
    log: float, spectrum: ScoreFloats, explained: ScoreFloats, rest: ScoreFloats, rows: int
) -> float:
    """Return the highest evidence of one class (C = 1) within a grid step of ``log``."""
    step, best = STEP, -np.inf
    # The maximum within ±step of the best of 9 points lies within ±step/4 of the next centre.
    for _ in range(ZOOMS):
        around = log + step * np.linspace(-1, 1, 9, dtype=np.float64)
        values = _evidence(around, spectrum, explained, rest, rows)[0]
        log, best = around[values.argmax()], max(best, values.max())
        step /= 4
    return float(best)
