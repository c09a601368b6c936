"""How sure a difference of two models on the same test samples is: over samples, over seeds.

Shape legend: ``N`` test samples, ``K`` statistics, ``S`` seeds, ``R`` resamples, ``G`` groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from mmx.evaluation.mcnemar import Discordant
from mmx.evaluation.permutation import swap_test
from mmx.evaluation.pooling import SeedError, estimate_seed_errors
from mmx.evaluation.power import Deciding, count_deciding_seeds
from mmx.evaluation.sample_metric import Floats, Pair

RESAMPLES = 4000
FEWEST_BEYOND = 10
"""Resamples beyond an end of an interval that show where it is."""
LEVEL = 0.95
NUMBERS_AT_ONCE = 4_000_000
"""Numbers that are worked on at once."""
LARGEST_DIFFERENCE = {"accuracy": 1.0, "f1_macro": 1.0}
"""How large a difference of a metric can be; of others, any."""
NORMAL: Floats = np.linspace(-8, 8, 161)
"""Standard deviations at which a normal error is added to that of seeds."""
PLACES: Floats = np.sinh(np.linspace(0, 16, 1000))
"""Standard deviations, up to a million, at which the error of seeds is tabulated to do so."""

NEGLIGIBLE = 1e-3
"""Part of the whole spread below which that of seeds changes no digit that is shown."""

Bounds = tuple[float, float]


def simultaneous(comparisons: int) -> float:
    """Return the level of each of several intervals that all hold together in 95 % of cases.

        1 - 0.05 / comparisons

    Bonferroni's correction: an interval and the verdict that is read from it then say the
    same, which Holm's sharper procedure, made for tests, does not give.

    Reference: Dunn 1961, Multiple comparisons among means.
    """
    return 1 - (1 - LEVEL) / max(1, comparisons)


@dataclass(frozen=True)
class Differences:
    """What is known of one difference: of one group of runs over its control.

    Attributes:
        metric: In which it is stated.
        values: ``(S,)`` of its seeds.
        pairs: The scores behind them, S of them, or none where they are not kept.
        control: The same for groups whose seeds are compared with the same models; None where
            no other group is.
    """

    metric: str
    values: Floats
    pairs: Sequence[Pair] = ()
    control: Hashable = None

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Differences:
        """Return those of scores."""
        values = np.array([first.value - second.value for first, second in pairs])
        control = tuple(second.statistics.tobytes() for _, second in pairs)
        # What is the same for every seed, as the most frequent class is, has no luck to share.
        shared = hash(control) if len(set(control)) > 1 else None
        return cls(pairs[0][0].metric, values, pairs, shared)

    @cached_property
    def sample_variance(self) -> float:
        """Of the mean over seeds, by the choice of test samples, less what the seeds show.

            v_samples - v_mixed

        What differs by sample *and* seed is in the spread of the seeds already: v_samples is
        the variance of the mean difference over resamples of the test set, the same for all
        seeds and both models, and v_mixed the mean variance of a seed's own part in it,
        over S. Seeds that were tested on different samples show all there is to know.
        """
        if not self.same_samples:
            return 0.0
        count = len(self.pairs)
        if self.metric == "accuracy":  # a mean: its resamples have a formula
            over = np.concatenate([one.statistics - two.statistics for one, two in self.pairs], 1)
            middle = over.mean(1, keepdims=True)
            whole, own = middle.var(), (over - middle).var(0).sum() / (count - 1)
            return float(max(0.0, whole - own / count) / len(over))
        deviations = resample(self.pairs, 0) - self.values[:, None]
        mixed = deviations.var(0, ddof=1).mean() / count
        return float(max(0.0, deviations.mean(0).var() - mixed))

    @property
    def same_samples(self) -> bool:
        """Whether all seeds were tested on the same samples."""
        rows = [first.rows for first, _ in self.pairs]
        return bool(rows) and all(np.array_equal(each, rows[0]) for each in rows)

    @property
    def least_variance(self) -> float:
        """Below which that of its seeds cannot be seen.

            1 / (12 N²)

        A metric that counts samples is rounded to 1 / N (Sheppard's correction).
        """
        if not self.pairs or self.metric not in LARGEST_DIFFERENCE:
            return 0.0
        return 1 / (12 * len(self.pairs[0][0].rows) ** 2)


def over_samples(pair: Pair, *, level: float = LEVEL, seed: int = 0) -> Bounds:
    """Return the interval of one difference of metrics, over paired test samples.

    The training of both models is taken as it came out: only several seeds tell more.

    Of two accuracies it is Tango's score interval (:meth:`.Discordant.interval`), of other
    metrics the percentile interval of a bootstrap: where fewer than ten resamples lie beyond
    an end, as at the level of many comparisons, the end is further from the median than the
    tenth by as much as in a normal distribution. It keeps to what is possible, and excludes 0
    only where :func:`.swap_test` does too.

    Args:
        pair: Scores under transfer and under the control.
        level: How often it is to hold.
        seed: Of the resampling.

    Reference: Efron 1979, percentile bootstrap.
    """
    counts = Discordant.of(*pair)
    found = counts.interval(level) if counts else _percentiles(pair, level, seed)
    return _bound(found, [pair], pair[0].metric, level)


def _percentiles(pair: Pair, level: float, seed: int) -> Bounds:
    tail = (1 - level) / 2
    seen = max(tail, FEWEST_BEYOND / RESAMPLES)
    low, middle, high = np.quantile(resample([pair], seed)[0], [seen, 0.5, 1 - seen])
    quantile = NormalDist().inv_cdf
    stretch = quantile(tail) / quantile(seen)
    return float(middle + stretch * (low - middle)), float(middle + stretch * (high - middle))


def over_seeds(pairs: Sequence[Pair], *, level: float = LEVEL) -> Bounds:
    """Return the interval of the mean difference over seeds and test samples, of one group.

    Args:
        pairs: S of them.
        level: How often it is to hold.
    """
    return Sure.of([Differences.of(pairs)], level=level)[0].interval


@dataclass(frozen=True)
class Sure:
    """How sure a mean difference is.

    Attributes:
        interval: Where it may as well lie.
        deciding: About how many seeds would decide; None of one seed, and where 0 is excluded.
    """

    interval: Bounds
    deciding: Deciding | None = None

    @classmethod
    def of(
        cls,
        groups: Sequence[Differences],
        *,
        level: float = LEVEL,
        independent: int | None = None,
    ) -> list[Sure]:
        """Return the intervals of the mean differences of groups, over seeds and test samples.

            δ̄ ± h      P(|e_seeds + e_samples| ≤ h) = level

        **Seeds** are too few to be resampled (the percentiles of five values hold the truth in
        83 of 100 cases): their error is Student's t, its spread weighed over all groups
        (:mod:`.pooling`). That of **samples** is normal, of :attr:`Differences.sample_variance`.
        A group of one seed has the interval :func:`over_samples`. All keep to what is possible,
        and exclude 0 only where :func:`.swap_test` does too.

        Args:
            groups: Of one metric and one kind of control; with scores where they have one seed.
            level: How often each interval is to hold.
            independent: How many groups they count for where models are in several of them;
                None for all, but for what a shared control takes off.

        Reference: Owen 2007 (arXiv:0712.1111), resampling rows and columns; Hesterberg 2015
        (arXiv:1411.5279), why a percentile interval of few values is too narrow.
        """
        several = [
            each for each in groups if len(each.values) > 1 and np.isfinite(each.values).all()
        ]
        errors = estimate_seed_errors(
            [each.values for each in several],
            [each.control if each.control is not None else id(each) for each in several],
            [each.least_variance for each in several],
            independent,
        )
        of_several = {id(each): error for each, error in zip(several, errors, strict=True)}
        return [_sure(each, of_several.get(id(each)), level) for each in groups]


def _sure(group: Differences, error: SeedError | None, level: float) -> Sure:
    if error is None:
        if len(group.values) > 1:
            return Sure((math.nan, math.nan))
        return Sure(over_samples(group.pairs[0], level=level))
    middle, of_samples = float(group.values.mean()), group.sample_variance
    reach = find_half_width(error, of_samples, level)
    low, high = _bound((middle - reach, middle + reach), group.pairs, group.metric, level)
    if low > 0 or high < 0:
        return Sure((low, high))
    alone = find_half_width(error, 0.0, level)
    return Sure((low, high), count_deciding_seeds(middle, alone, error, of_samples, level))


def find_half_width(error: SeedError, sample_variance: float, level: float) -> float:
    """Return the h that an error over seeds and samples exceeds in 1 - level of cases.

    Args:
        error: Over seeds.
        sample_variance: Of the error over samples, which is normal.
        level: How often it is not exceeded.
    """
    from scipy.optimize import brentq  # slow to import

    spread = np.sqrt(error.variance / error.seeds)
    high = np.hypot(spread, np.sqrt(sample_variance))
    if spread <= NEGLIGIBLE * high:  # samples alone, or nothing at all
        return float(high * NormalDist().inv_cdf((1 + level) / 2))
    places = PLACES * spread
    inside = error.within(places) if sample_variance > 0 else None

    def beyond(h: float) -> float:
        distances = np.array([h])
        if inside is None:
            return float(error.within(distances)[0]) - level
        found = _sum(lambda each: np.interp(each, places, inside), sample_variance, distances)
        return float(found[0]) - level

    while beyond(high) < 0:
        high *= 2
    return float(brentq(beyond, 0.0, high, xtol=1e-12 * high, rtol=1e-10))


def find_coverage(error: SeedError, sample_variance: float, distances: Floats) -> Floats:
    """Return how often an error over seeds and samples is no larger than distances, ``(n,)``.

    Args:
        error: Over seeds.
        sample_variance: Of the error over samples, which is normal.
        distances: ``(n,)``.
    """
    if sample_variance == 0:
        return error.within(distances)
    return _sum(error.within, sample_variance, distances)


def _sum(inside: Callable[[Floats], Floats], variance: float, distances: Floats) -> Floats:
    """Return how often a symmetric error plus a normal one is no larger than distances."""
    # P(|a + b| ≤ h) is the mean over b of ± P(|a| ≤ |h + b|).
    shifted = distances[:, None] + np.sqrt(variance) * NORMAL
    weights = np.exp(-(NORMAL**2) / 2)
    found: Floats = (np.sign(shifted) * inside(np.abs(shifted))) @ weights / weights.sum()
    return found


def _bound(found: Bounds, pairs: Sequence[Pair], metric: str, level: float) -> Bounds:
    """Return an interval within what is possible, that holds 0 where a test does not exclude it."""
    largest = LARGEST_DIFFERENCE.get(metric, np.inf)
    low, high = max(found[0], -largest), min(found[1], largest)
    if pairs and (low > 0 or high < 0) and swap_test(pairs) >= 1 - level:
        low, high = min(low, 0.0), max(high, 0.0)
    return float(low), float(high)


def resample(pairs: Sequence[Pair], seed: int) -> Floats:
    """Return ``(S, R)`` differences, each resample the same for all pairs."""
    each = [scores for pair in pairs for scores in pair]
    stacked = np.concatenate([scores.statistics for scores in each], axis=1)
    ends = np.cumsum([scores.statistics.shape[1] for scores in each])[:-1]
    found = []
    counts = _counts(len(stacked), seed)
    step = max(1, NUMBERS_AT_ONCE // len(stacked))
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
