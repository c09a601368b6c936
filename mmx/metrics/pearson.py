"""Pearson's correlation of answers and truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmx.metrics.base import Answers, Floats, SumMetric, explain_constant


@dataclass(frozen=True, kw_only=True)
class Pearson(SumMetric):
    """Pearson's correlation of answers and truth; their unit and offset do not count.

    Σ (ŷ - mean ŷ) (y - mean y) / √(Σ (ŷ - mean ŷ)² Σ (y - mean y)²)
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"regression"})
    span: ClassVar[float] = 2.0

    def explain_undefined(self, answers: Answers) -> str:
        """Return why it has no value; see :class:`Metric`."""
        return explain_constant(answers)

    def measure(self, answers: Answers) -> float:
        """Return its value; NaN where all answers are the same."""
        from scipy.stats import pearsonr  # slow to import

        if np.ptp(answers.scores) == 0:
            return float("nan")
        return float(pearsonr(answers.scores, answers.truth).statistic)

    def keep(self, answers: Answers) -> Floats:
        """Return ``(N, 5)``: x, y, x², y² and x y, each centred and in standard deviations."""
        x, y = (standardize(each) for each in (answers.scores, answers.truth))
        return np.stack([x, y, x**2, y**2, x * y], axis=1)

    def of_sums(self, sums: Floats, count: int) -> Floats:
        """Return the metric of sums over rows; NaN where either has no spread."""
        x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
        # Σ x² - (Σ x)² / N, the centred sum. Of a resample the mean is not 0, hence the correction.
        return correlate(xx - x * x / count, yy - y * y / count, xy - x * y / count, count)


def standardize(numbers: Floats) -> Floats:
    """Return numbers with mean 0 and standard deviation 1; zeros if they are all the same."""
    if np.ptp(numbers) == 0:  # the deviation of equal numbers may be the rounding of their mean
        return numbers * 0.0
    middle = numbers - numbers.mean()
    found: Floats = middle / float(middle.std())
    return found


def correlate(xx: Floats, yy: Floats, xy: Floats, count: int | Floats) -> Floats:
    """Return a correlation from centred sums; NaN where one has no spread beyond rounding."""
    # Numbers are in standard deviations: 1e-12 of N is rounding, not spread.
    there = (xx > 1e-12 * count) & (yy > 1e-12 * count)
    scale = np.sqrt(np.where(there, xx * yy, 1.0))
    found: Floats = np.where(there, np.clip(xy / scale, -1, 1), np.nan)  # rounding may pass ±1
    return found
