"""How sure a difference of two models on the same test samples is: over samples, over seeds.

Shape legend: ``N`` test samples, ``K`` statistics, ``S`` seeds, ``R`` resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from mmx.evaluation.scores import Floats, Scores

Pair = tuple[Scores, Scores]
"""Of one seed: under transfer, under the control; of the same samples."""

RESAMPLES = 4000
FEWEST = 10
"""Resamples beyond an end of an interval that show where it is."""
DRAWS = 100_000
"""Of Student's t, so that the tail of a simultaneous interval is not that of a few draws."""
LEVEL = 0.95
CHUNK = 4_000_000
"""Numbers that are worked on at once."""
NONE: Floats = np.zeros(1)
"""Of samples: they add nothing to what the seeds show."""


def simultaneous(comparisons: int) -> float:
    """Return the level of each of several intervals that all hold together in 95 % of cases.

        1 - 0.05 / comparisons

    Bonferroni's correction: an interval and the verdict that is read from it then say the
    same, which Holm's sharper procedure, made for tests, does not give.

    Reference: Dunn 1961, Multiple comparisons among means.
    """
    return 1 - (1 - LEVEL) / max(1, comparisons)


def over_samples(pair: Pair, *, level: float = LEVEL, seed: int = 0) -> tuple[float, float]:
    """Return the bootstrap interval of one difference of metrics, over paired test samples.

    The training of both models is taken as it came out: only several seeds tell more.

    Where fewer than ten resamples lie beyond an end, as at the level of many comparisons, the
    end is further from the median than the tenth by as much as in a normal distribution.

    Args:
        pair: Scores under transfer and under the control.
        level: How often it is to hold.
        seed: Of the resampling.

    Reference: Efron 1979, percentile bootstrap.
    """
    tail = (1 - level) / 2
    seen = max(tail, FEWEST / RESAMPLES)
    low, middle, high = np.quantile(resampled([pair], seed)[0], [seen, 0.5, 1 - seen])
    quantile = NormalDist().inv_cdf
    stretch = quantile(tail) / quantile(seen)
    return float(middle + stretch * (low - middle)), float(middle + stretch * (high - middle))


def over_seeds(
    pairs: Sequence[Pair], *, level: float = LEVEL, seed: int = 0
) -> tuple[float, float]:
    """Return the interval of the mean difference over seeds and test samples.

        δ̄ + c · (δ̄* - δ̄) + s / √S · t        c² = max(0, 1 - v_mixed / v_samples)

    A two-level bootstrap. **Samples** are resampled, the same ones for every seed and for
    both models: δ̄* is the mean difference of such a resample. **Seeds** are too few to be
    resampled (the percentiles of five values hold the truth in 83 of 100 cases, and of two or
    three values have no tails at all), so this level is studentised: s is the standard
    deviation of the S differences and t is drawn from Student's distribution of S - 1 degrees
    of freedom. What differs by sample *and* seed is in s already, so it is taken out of the
    sample level: v_mixed is the mean variance of a seed's deviations δ_s* - δ_s around their
    mean, over S, and v_samples the variance of that mean.

    Where seeds were tested on different samples, s holds all there is to know of samples, and
    the interval is Student's. Of one seed it is that :func:`over_samples`.

    Args:
        pairs: S of them.
        level: How often it is to hold.
        seed: Of the resampling.

    Reference: Owen 2007 (arXiv:0712.1111), resampling rows and columns; Hesterberg 2015
    (arXiv:1411.5279), why a percentile interval of few values is too narrow.
    """
    if len(pairs) == 1:
        return over_samples(pairs[0], level=level, seed=seed)
    differences = np.array([treated.value - control.value for treated, control in pairs])
    rows = pairs[0][0].rows
    samples = NONE
    if all(np.array_equal(treated.rows, rows) for treated, _ in pairs):
        deviations = resampled(pairs, seed) - differences[:, None]
        samples = deviations.mean(0)
        mixed = deviations.var(0, ddof=1).mean() / len(pairs)
        whole = samples.var()
        samples = samples * np.sqrt(max(0.0, 1 - mixed / whole) if whole > 0 else 0.0)
    return studentised(differences, samples, level=level, seed=seed)


def studentised(
    differences: Floats, samples: Floats, *, level: float = LEVEL, seed: int = 0
) -> tuple[float, float]:
    """Return the interval of the mean of S differences, two or more.

        δ̄ ± s / √S · t          where nothing but seeds moves the mean: Student's own, exactly
        δ̄ + d + s / √S · t      else: d and t are drawn, and the quantiles are of the draws

    Args:
        differences: ``(S,)``.
        samples: ``(R,)`` deviations d of the mean from another source, all 0 for none.
        level: How often it is to hold.
        seed: Of the draws.
    """
    count = len(differences)
    spread = differences.std(ddof=1) / np.sqrt(count)
    if not samples.any():
        from scipy.special import stdtrit  # slow to import

        middle, reach = differences.mean(), spread * stdtrit(count - 1, (1 + level) / 2)
        return float(middle - reach), float(middle + reach)
    # 100,000 draws put an end of a 95 % interval within 1 % or so of its place.
    t = np.random.default_rng(seed).standard_t(count - 1, DRAWS)
    means = differences.mean() + np.resize(samples, DRAWS) + spread * t
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resampled(pairs: Sequence[Pair], seed: int) -> Floats:
    """Return ``(S, R)`` differences, each resample the same for all pairs."""
    each = [scores for pair in pairs for scores in pair]
    stacked = np.concatenate([scores.statistics for scores in each], axis=1)
    ends = np.cumsum([scores.statistics.shape[1] for scores in each])[:-1]
    found = []
    counts = _counts(len(stacked), seed)
    step = max(1, CHUNK // len(stacked))
    for first in range(0, len(counts), step):
        sums = counts[first : first + step].astype(np.float64) @ stacked
        parts = zip(each, np.split(sums, ends, axis=1), strict=True)
        found.append(np.stack([scores.of_sums(part) for scores, part in parts]))
    values = np.concatenate(found, axis=1)
    # Equal models differ by nothing, not by the last bit of a sum that is taken in two orders.
    differences: Floats = np.round(values[::2] - values[1::2], 12)
    return differences


@lru_cache(maxsize=1)
def _counts(samples: int, seed: int) -> npt.NDArray[np.uint8]:
    """Return ``(R, N)``: how often each sample is in each resample."""
    generator = np.random.default_rng(seed)
    # A byte each: a sample is drawn once on average, and never 256 times in a lifetime.
    counts = np.empty((RESAMPLES, samples), dtype=np.uint8)
    for row in counts:
        row[:] = np.bincount(generator.integers(0, samples, samples), minlength=samples)
    return counts
