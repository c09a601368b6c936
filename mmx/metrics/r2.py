"""The share of the variance of the truth that the answers explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmx.metrics.base import Answers, Floats, SumMetric

ROUNDING = 1e-12
"""Spread of equal numbers, as a share of their squares, that is the rounding of sums alone."""


@dataclass(frozen=True, kw_only=True)
class R2(SumMetric):
    """R²: the share of the variance of the truth that the answers explain.

    1 - Σ e² / (Σ y² - (Σ y)² / N)
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"regression"})

    def explain_undefined(self, answers: Answers) -> str:
        """Return why it has no value; see :class:`Metric`."""
        rows = len(answers.truth)
        return "" if rows > 1 else f"there {'is one row' if rows else 'is no row'}"

    def measure(self, answers: Answers) -> float:
        """Return its value."""
        from sklearn.metrics import r2_score  # slow to import

        if np.ptp(answers.truth) == 0:  # there scikit-learn may divide by the rounding of a mean
            return float((answers.scores == answers.truth).all())
        return float(r2_score(answers.truth, answers.scores))

    def keep(self, answers: Answers) -> Floats:
        """Return ``(N, 3)``: e², y and y², in standard deviations of the truth."""
        # R² does not change with unit and offset; sums of large squares would lose digits.
        constant = np.ptp(answers.truth) == 0  # whose deviation may be rounding
        middle, scale = (
            (answers.truth[0], 1.0) if constant else (answers.truth.mean(), answers.truth.std())
        )
        truth = (answers.truth - middle) / scale
        errors = ((answers.scores - answers.truth) / scale) ** 2
        return np.stack([errors, truth, truth**2], axis=1)

    def of_sums(self, sums: Floats, count: int) -> Floats:
        """Return the metric of sums over rows."""
        errors, first, second = np.moveaxis(sums, -1, 0)
        spread = second - first**2 / count  # Σ (y - ȳ)² of the resample, whose mean is not 0
        # As scikit-learn's r2 of a constant target: 1 if predicted exactly, otherwise 0.
        lost = np.array(errors > 0, dtype=np.float64)
        there = spread > ROUNDING * second
        # `out` is what stays where there is no spread: lost, not 0.
        found: Floats = 1 - np.divide(errors, spread, out=lost, where=there)
        return found
