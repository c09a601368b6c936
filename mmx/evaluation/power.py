"""About how many seeds would decide a difference that is not clear yet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from mmx.evaluation.pooling import SeedError

MOST_SEEDS = 50
"""Seeds beyond which their number is not told: nobody trains so many."""


@dataclass(frozen=True)
class Deciding:
    """About how many seeds would make an interval exclude 0, if the difference is as seen.

    Attributes:
        seeds: How many; None where it is more than 50, or no number is enough.
        samples: Whether no number of seeds is enough, since the test set alone is too small.
    """

    seeds: int | None
    samples: bool = False

    def __str__(self) -> str:
        if self.samples:
            return "no number of seeds on so few test rows"
        return (
            f"more than {MOST_SEEDS} seeds" if self.seeds is None else f"about {self.seeds} seeds"
        )


def count_deciding_seeds(
    difference: float, half_width: float, error: SeedError, sample_variance: float, level: float
) -> Deciding:
    """Return about how many seeds would decide.

        the least n with  t(ν_n)² s² / n + z² v_samples < δ̄²,   ν_n = ν (n - 1) / (S - 1)

    where ν are the degrees of freedom that the present interval has in effect. An experiment of
    n seeds then decides about every second time, if the true difference is the one observed.

    Args:
        difference: δ̄, observed.
        half_width: Of its present interval, over seeds alone.
        error: Over seeds; s² is its variance.
        sample_variance: Of the mean, by the choice of test samples.
        level: Of the interval.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    left = difference**2 - z**2 * sample_variance
    if left <= 0:
        return Deciding(None, samples=sample_variance > 0 and difference != 0)
    spread = math.sqrt(error.variance / error.seeds)
    freedom = _freedom(half_width / spread if spread else 0.0, error.seeds - 1, level)
    from scipy.special import stdtrit  # slow to import

    for seeds in range(2, MOST_SEEDS + 1):
        t = float(stdtrit(freedom * (seeds - 1) / (error.seeds - 1), (1 + level) / 2))
        if t**2 * error.variance / seeds < left:
            return Deciding(seeds)
    return Deciding(None)


def _freedom(quantile: float, least: int, level: float) -> float:
    """Return the degrees of freedom at which Student's t has a quantile, of ``least`` or more."""
    from scipy.special import stdtrit  # slow to import

    most = 1e4
    low, high = float(least), most
    for _ in range(60):
        middle = math.sqrt(low * high)
        larger = float(stdtrit(middle, (1 + level) / 2)) > quantile
        low, high = (middle, high) if larger else (low, middle)
    return high
