"""Power: about how many seeds would decide a difference that is not clear yet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from mmx.evaluation.pooling import SeedError

MOST_SEEDS = 50
"""Larger numbers of seeds are not reported: nobody trains so many."""


@dataclass(frozen=True)
class SeedsNeeded:
    """About how many seeds would make an interval exclude 0, if the observed difference is true.

    Attributes:
        seeds: How many; None if it is more than 50, or no number is enough.
        samples: Whether no number of seeds is enough, because the test set is too small.
    """

    seeds: int | None
    samples: bool = False

    def __str__(self) -> str:
        if self.samples:
            return "no number of seeds on so few test rows"
        return (
            f"more than {MOST_SEEDS} seeds" if self.seeds is None else f"about {self.seeds} seeds"
        )


def count_seeds_needed(
    difference: float, half_width: float, error: SeedError, sample_variance: float, level: float
) -> SeedsNeeded:
    """Return about how many seeds would decide.

        the least n with  t(ν_n)² s² / n + z² v_samples < δ̄²,   ν_n = ν (n - 1) / (S - 1)

    where ν is the effective number of degrees of freedom of the present interval. If the true
    difference is the observed one, an experiment with n seeds has a power of about one half.

    Args:
        difference: δ̄, observed.
        half_width: Half the width of its present interval, over seeds only.
        error: The error over seeds; s² is its variance.
        sample_variance: Variance of the mean due to the choice of test rows.
        level: The confidence level of the interval.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    # What z² (σ_seeds² / n + σ_rows²) < d² leaves for the seeds.
    left = difference**2 - z**2 * sample_variance
    if left <= 0:
        return SeedsNeeded(None, samples=sample_variance > 0 and difference != 0)
    spread = math.sqrt(error.variance / error.seeds)
    freedom = _freedom(half_width / spread if spread else 0.0, error.seeds - 1, level)
    from scipy.special import stdtrit  # slow to import

    for seeds in range(2, MOST_SEEDS + 1):
        # Degrees of freedom grow with the number of seeds, in the proportion found for these.
        t = float(stdtrit(freedom * (seeds - 1) / (error.seeds - 1), (1 + level) / 2))
        if t**2 * error.variance / seeds < left:
            return SeedsNeeded(seeds)
    return SeedsNeeded(None)


def _freedom(quantile: float, least: int, level: float) -> float:
    """Return the degrees of freedom, at least ``least``, at which Student's t has a quantile.

    Found by bisection on a logarithmic scale: the quantile falls as degrees of freedom rise.
    """
    from scipy.special import stdtrit  # slow to import

    most = 1e4
    low, high = float(least), most
    for _ in range(60):
        # Geometric: freedom spans orders of magnitude.
        middle = math.sqrt(low * high)
        larger = float(stdtrit(middle, (1 + level) / 2)) > quantile
        low, high = (middle, high) if larger else (low, middle)
    return high
