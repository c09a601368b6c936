"""Means and standard deviations of numbers that are read part by part."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


class Moments:
    """Count, mean and sum of squared deviations of each column; NaN is left out.

    Args:
        width: Number of columns.

    Reference: Chan, Golub and LeVeque 1983, doi 10.1080/00031305.1983.10483115.
    """

    def __init__(self, width: int) -> None:
        self._count = np.zeros(width)
        self._mean = np.zeros(width)
        self._squares = np.zeros(width)

    def add(self, part: Numbers) -> None:
        """Add rows ``(n, width)``."""
        there = ~np.isnan(part)
        count = there.sum(0)
        some = np.maximum(count, 1)  # columns without a number in this part are left out below
        mean = np.where(there, part, 0.0).sum(0) / some
        squares = (np.where(there, part - mean, 0.0) ** 2).sum(0)
        total = np.maximum(self._count + count, 1)
        delta = mean - self._mean
        # Chan et al. 1983: the squares of both parts, and what their means are apart.
        self._squares += squares + np.where(count > 0, delta**2 * self._count * count / total, 0.0)
        self._mean += np.where(count > 0, delta * count / total, 0.0)
        self._count += count

    def means(self) -> list[float]:
        """Return the mean of each column, 0 without any number."""
        return [float(mean) for mean in self._mean]

    def stds(self) -> list[float]:
        """Return the standard deviation of each column; 1 for a constant one, as in a table."""
        # of the population, as the standardisation of a table
        deviations = np.sqrt(self._squares / np.maximum(self._count, 1))
        # What rounding leaves of a constant is no deviation: dividing by it would blow it up.
        flat = deviations <= 1e-12 * np.abs(self._mean)
        return [1.0 if none else float(std) for none, std in zip(flat, deviations, strict=True)]
