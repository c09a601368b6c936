"""Confidence intervals for the difference of two models, over test rows, seeds and folds.

Shape legend: ``N`` test rows (samples), ``K`` statistics, ``S`` seeds, ``R`` resamples,
``G`` groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from mmx.evaluation import folds
from mmx.evaluation.folds import average_parts
from mmx.evaluation.mcnemar import Discordant
from mmx.evaluation.permutation import swap_test
from mmx.evaluation.pooling import SeedError, estimate_seed_errors
from mmx.evaluation.power import SeedsNeeded, count_seeds_needed
from mmx.evaluation.sample_metric import Pair, SampleScores
from mmx.metrics import BY_NAME, Metric, SumMetric
from mmx.metrics.base import Floats

RESAMPLES = 4000
FEWEST_BEYOND = 10
"""Resamples beyond an end of an interval that are needed to estimate the end."""
LEVEL = 0.95
NUMBERS_AT_ONCE = 4_000_000
"""Numbers that are computed at once; it bounds the memory."""
WORK = 400_000_000
"""Numbers that resamples of a metric that is no function of sums may take, N · K for each."""
FEWEST_RESAMPLES = 400
"""Resamples of such a metric are never fewer, however large the test set is."""
# ±8: a normal error is farther out with probability 1e-15.
NORMAL: Floats = np.linspace(-8, 8, 161, dtype=np.float64)
"""Nodes, in standard deviations, for integrating over a normal error."""
PLACES: Floats = np.sinh(np.linspace(0, 16, 1000))
"""Nodes, in standard deviations up to about four million, for a table of the error of seeds."""

NEGLIGIBLE = 1e-3
"""Fraction of the total spread below which the spread of seeds changes no digit shown."""

Bounds = tuple[float, float]


def bonferroni_level(comparisons: int) -> float:
    """Return the level of each of several intervals so that all of them hold in 95 % of cases.

        1 - 0.05 / comparisons

    Bonferroni's correction. Holm's procedure is sharper, but it is made for tests: with it, an
    interval and its verdict could disagree.

    Reference: Dunn 1961, Multiple comparisons among means.
    """
    # Bonferroni: the chances of error of all intervals add up to no more than 1 - LEVEL.
    return 1 - (1 - LEVEL) / max(1, comparisons)


@dataclass(frozen=True)
class Differences:
    """The differences between one group of runs and its control, one for each seed or fold.

    Attributes:
        metric: The metric that is compared.
        values: ``(S,)`` differences of the seeds, positive where the first is better, or ``(n,)``
            of folds and repeats.
        pairs: The pairs of scores of all runs that the values come from; empty if they are not
            kept.
        control: A key that is equal for groups compared with the same control models; None if
            no other group shares them.
        folds: Number of folds of a partition, where values are of folds; 0: they are of seeds.
    """

    metric: str
    values: Floats
    pairs: Sequence[Pair] = ()
    control: Hashable = None
    folds: int = 0

    @classmethod
    def of(
        cls, pairs: Sequence[Pair], folds: int = 0, parts: Sequence[Hashable] = ()
    ) -> Differences:
        """Return the differences of pairs of scores.

        Args:
            pairs: One for each run.
            folds: Number of folds of a partition, where runs were tested on different ones.
            parts: The repeat and fold of each run, if so.
        """
        values = np.array([first.gain_over(second) for first, second in pairs])
        if folds:
            return cls(pairs[0][0].metric, average_parts(values, parts), pairs, None, folds)
        # Bytes of all seeds together: groups with the same control runs have the same key.
        control = tuple(second.statistics.tobytes() for _, second in pairs)
        # A control without randomness, such as the most frequent class, adds no shared error.
        shared = hash(control) if len(set(control)) > 1 else None
        return cls(pairs[0][0].metric, values, pairs, shared)

    @cached_property
    def sample_variance(self) -> float:
        """The variance of the mean over seeds due to the choice of test rows.

            v_samples - v_mixed

        v_samples is the variance of the mean difference over resamples of the test set, the same
        resample for all seeds and both models. v_mixed is the mean variance of a single seed's
        deviation from it, divided by S: variation by row *and* seed, which the spread of the
        seeds contains already. It is 0 if the seeds were tested on different rows, since their
        spread then contains everything.
        """
        if not self.same_samples:
            return 0.0
        count = len(self.pairs)
        if self.metric == "accuracy":  # a mean, for which the variance has a closed form
            # (N, S): each row's difference in each seed.
            over = np.concatenate([one.statistics - two.statistics for one, two in self.pairs], 1)
            # The mean over seeds keeps what rows have in common, (N, 1).
            middle = over.mean(1, keepdims=True)
            # Variance of a row's mean, and the part of it that is chance between seeds, S - 1
            # degrees.
            whole, own = middle.var(), (over - middle).var(0).sum() / (count - 1)
            return float(max(0.0, whole - own / count) / len(over))
        deviations = _drop_undefined(resample_pairs(self.pairs, 0)) - self.values[:, None]
        if not deviations.size:
            return math.nan
        # Resamples differ by rows, which seeds share, and by what each seed makes of them: the
        # latter is 1 / S of the variance within.
        mixed = deviations.var(0, ddof=1).mean() / count
        return float(max(0.0, deviations.mean(0).var() - mixed))

    @property
    def form(self) -> Metric | None:
        """The metric; None for one that is known by name alone."""
        return self.pairs[0][0].form if self.pairs else BY_NAME.get(self.metric)

    @property
    def same_samples(self) -> bool:
        """Whether all seeds were tested on the same rows."""
        rows = [first.rows for first, _ in self.pairs]
        return bool(rows) and all(np.array_equal(each, rows[0]) for each in rows)

    @property
    def least_variance(self) -> float:
        """The least variance of seeds that can be observed.

            1 / (12 N²)

        A metric that counts rows is rounded to multiples of 1 / N (Sheppard's correction).
        """
        if self.form is None or not self.form.counts_rows or not self.pairs:
            return 0.0
        return 1 / (12 * len(self.pairs[0][0].rows) ** 2)


def find_sample_interval(pair: Pair, *, level: float = LEVEL, seed: int = 0) -> Bounds:
    """Return the confidence interval of one difference of metrics, over paired test rows.

    Both models are taken as given: the randomness of training needs several seeds.

    For accuracy it is Tango's score interval (:meth:`.Discordant.interval`), for other metrics
    the percentile interval of a bootstrap. If fewer than ten resamples would lie beyond an end,
    as at the level of many comparisons, the end is extrapolated from the tenth resample as in a
    normal distribution. The interval stays within possible values, and excludes 0 only if
    :func:`.swap_test` rejects as well.

    Args:
        pair: Scores under transfer and under the control.
        level: The confidence level.
        seed: Seed of the resampling.

    Reference: Efron 1979, percentile bootstrap.
    """
    counts = Discordant.of(*pair)
    found = counts.interval(level) if counts else _percentiles(pair, level, seed)
    return _bound(found, Differences.of([pair]), level)


def _percentiles(pair: Pair, level: float, seed: int) -> Bounds:
    tail = (1 - level) / 2
    # The first of one pair's row of differences, (R,).
    found = _drop_undefined(resample_pairs([pair], seed))[0]
    seen = max(tail, FEWEST_BEYOND / max(1, len(found)))  # the smallest tail with enough resamples
    if seen >= 0.5:
        return math.nan, math.nan
    low, middle, high = np.quantile(found, [seen, 0.5, 1 - seen])
    quantile = NormalDist().inv_cdf
    # Ends are read off where resamples are enough, and stretched from there as a normal one's.
    stretch = quantile(tail) / quantile(seen)
    return float(middle + stretch * (low - middle)), float(middle + stretch * (high - middle))


def find_seed_interval(pairs: Sequence[Pair], *, level: float = LEVEL) -> Bounds:
    """Return the confidence interval of one group's mean difference, over seeds and test rows.

    Args:
        pairs: S pairs of scores.
        level: The confidence level.
    """
    return GainInterval.of([Differences.of(pairs)], level=level)[0].interval


@dataclass(frozen=True)
class GainInterval:
    """The confidence interval of a mean difference.

    Attributes:
        interval: Its ends.
        deciding: About how many seeds would make it exclude 0; None for a single seed, and if it
            excludes 0 already.
    """

    interval: Bounds
    deciding: SeedsNeeded | None = None

    @classmethod
    def of(
        cls,
        groups: Sequence[Differences],
        *,
        level: float = LEVEL,
        independent: int | None = None,
    ) -> list[GainInterval]:
        """Return the intervals of the mean differences of groups, over seeds and test rows.

            δ̄ ± h      P(|e_seeds + e_samples| ≤ h) = level

        **Seeds** are too few to be resampled (the percentile interval of five values covers the
        truth in 83 of 100 cases). Their error follows Student's t, with a spread that is pooled
        over all groups (:mod:`.pooling`). The error over **samples** is normal, with the variance
        :attr:`Differences.sample_variance`.
        A group of one seed has the interval :func:`find_sample_interval`. **Folds** have an
        interval of their own, corrected for the training rows that they share (:mod:`.folds`);
        their spread is not pooled with that of other groups. All intervals stay within possible
        values, and exclude 0 only if :func:`.swap_test` rejects as well.

        Args:
            groups: Groups of one metric and one kind of control; a group of one seed needs scores.
            level: The confidence level of each interval.
            independent: How many independent groups they count for, if models occur in several
                of them; None for all, with a correction for shared controls.

        Reference: Owen 2007 (arXiv:0712.1111), resampling rows and columns; Hesterberg 2015
        (arXiv:1411.5279), why a percentile interval of few values is too narrow.
        """
        several = [
            each
            for each in groups
            if len(each.values) > 1 and np.isfinite(each.values).all() and not each.folds
        ]
        errors = estimate_seed_errors(
            [each.values for each in several],
            [each.control if each.control is not None else id(each) for each in several],
            [each.least_variance for each in several],
            independent,
        )
        of_several = {id(each): error for each, error in zip(several, errors, strict=True)}
        return [_find_interval(each, of_several.get(id(each)), level) for each in groups]


def _find_interval(group: Differences, error: SeedError | None, level: float) -> GainInterval:
    if group.folds and np.isfinite(group.values).all():
        return GainInterval(_find_fold_interval(group, level))
    if error is None:
        if len(group.values) > 1:
            return GainInterval((math.nan, math.nan))
        return GainInterval(find_sample_interval(group.pairs[0], level=level))
    middle, of_samples = float(group.values.mean()), group.sample_variance
    if math.isnan(of_samples):
        return GainInterval((math.nan, math.nan))
    reach = find_half_width(error, of_samples, level)
    low, high = _bound((middle - reach, middle + reach), group, level)
    if low > 0 or high < 0:
        return GainInterval((low, high))
    alone = find_half_width(error, 0.0, level)
    return GainInterval((low, high), count_seeds_needed(middle, alone, error, of_samples, level))


def _find_fold_interval(group: Differences, level: float) -> Bounds:
    middle = float(group.values.mean())
    reach = folds.find_half_width_of_folds(group.values, group.folds, level, group.least_variance)
    return _bound((middle - reach, middle + reach), group, level)


def find_half_width(error: SeedError, sample_variance: float, level: float) -> float:
    """Return the h that an error over seeds and samples exceeds with probability 1 - level.

    Args:
        error: The error over seeds.
        sample_variance: Variance of the error over samples, which is normal.
        level: The confidence level.
    """
    from scipy.optimize import brentq  # slow to import

    spread = np.sqrt(error.variance / error.seeds)
    # Errors of seeds and of rows are independent: variances add.
    high = np.hypot(spread, np.sqrt(sample_variance))
    if spread <= NEGLIGIBLE * high:  # only an error over samples, or none at all
        return float(high * NormalDist().inv_cdf((1 + level) / 2))
    places = PLACES * spread
    # Tabulated once: the root search below evaluates it at many shifted distances.
    inside = error.within(places) if sample_variance > 0 else None

    def beyond(h: float) -> float:
        distances = np.array([h])
        if inside is None:
            return float(error.within(distances)[0]) - level
        found = _sum(lambda each: np.interp(each, places, inside), sample_variance, distances)
        return float(found[0]) - level

    # Doubled until it is beyond, so that the root lies between 0 and `high`.
    while beyond(high) < 0:
        high *= 2
    return float(brentq(beyond, 0.0, high, xtol=1e-12 * high, rtol=1e-10))


def find_coverage(error: SeedError, sample_variance: float, distances: Floats) -> Floats:
    """Return the probability ``(n,)`` that an error over seeds and samples is within distances.

    Args:
        error: The error over seeds.
        sample_variance: Variance of the error over samples, which is normal.
        distances: ``(n,)``.
    """
    if sample_variance == 0:
        return error.within(distances)
    return _sum(error.within, sample_variance, distances)


def _sum(inside: Callable[[Floats], Floats], variance: float, distances: Floats) -> Floats:
    """Return the probability that a symmetric error plus a normal one is within distances."""
    # P(|a + b| ≤ h) is the mean over b of ± P(|a| ≤ |h + b|).
    # (n, nodes)
    shifted = distances[:, None] + np.sqrt(variance) * NORMAL
    weights = np.exp(-(NORMAL**2) / 2)
    # |h + b| with the sign of h + b: for h + b < 0 no a can be within.
    found: Floats = (np.sign(shifted) * inside(np.abs(shifted))) @ weights / weights.sum()
    return found


def _bound(found: Bounds, group: Differences, level: float) -> Bounds:
    """Return an interval clipped to possible values, and widened to 0 if the test accepts 0."""
    # The widest that a difference of values can be, such as 1 for accuracies.
    largest = np.inf if group.form is None else group.form.span
    low, high = max(found[0], -largest), min(found[1], largest)
    if not group.pairs or low <= 0 <= high:
        return float(low), float(high)
    # A p-value equal to 1 - level does not reject. By row: repeats of folds test the same rows in
    # other company.
    if swap_test(group.pairs, by_row=bool(group.folds)) >= 1 - level:
        low, high = min(low, 0.0), max(high, 0.0)
    return float(low), float(high)


def resample_pairs(pairs: Sequence[Pair], seed: int) -> Floats:
    """Return ``(S, R)`` bootstrap differences; each resample of rows is the same for all pairs.

    They are positive where the first is better, and NaN where a resample has no metric.
    """
    each = [scores for pair in pairs for scores in pair]
    if not isinstance(each[0].form, SumMetric):
        return _resample_answers(each, seed)
    stacked = np.concatenate([scores.statistics for scores in each], axis=1)
    ends = np.cumsum([scores.statistics.shape[1] for scores in each])[:-1]
    found = []
    counts = draw_counts(len(stacked), seed)
    step = max(1, NUMBERS_AT_ONCE // len(stacked))
    for first in range(0, len(counts), step):
        # (R', N) @ (N, Σ K): the sums of all scores at once; each score has its own columns.
        sums = counts[first : first + step].astype(np.float64) @ stacked
        parts = zip(each, np.split(sums, ends, axis=1), strict=True)
        found.append(np.stack([scores.of_sums(part) for scores, part in parts]))
    values = np.concatenate(found, axis=1)
    # Rounded, so that equal models differ by 0 and not by the last bit of a sum.
    # Even rows are those under transfer, odd ones their controls.
    differences: Floats = np.round(values[::2] - values[1::2], 12)
    return each[0].form.sign * differences


def _resample_answers(each: Sequence[SampleScores], seed: int) -> Floats:
    """Return the differences of :func:`resample_pairs` for a metric that is no function of sums."""
    statistics = each[0].statistics
    counts = draw_counts(len(statistics), seed)[: count_draws(each[0], RESAMPLES)]
    values = np.stack([scores.of_weights(counts) for scores in each])
    differences: Floats = np.round(values[::2] - values[1::2], 12)
    return each[0].form.sign * differences


def count_draws(scores: SampleScores, most: int) -> int:
    """Return of how many resamples the metric is computed, at most ``most``."""
    if isinstance(scores.form, SumMetric):
        return most
    allowed = WORK // max(1, scores.statistics.size)
    return min(most, scores.form.most_resamples, max(FEWEST_RESAMPLES, allowed))


def _drop_undefined(differences: Floats) -> Floats:
    """Return ``(S, R)`` differences without resamples in which one has no metric.

    Empty if that is so in more than half of them: what is left would be a biased choice.
    """
    there = ~np.isnan(differences).any(0)
    if there.all():
        return differences
    # (S, 0): with so many undefined there is no interval
    return differences[:, there] if there.mean() > 0.5 else differences[:, :0]


@lru_cache(maxsize=1)
def draw_counts(samples: int, seed: int) -> npt.NDArray[np.uint8]:
    """Return ``(R, N)``: how often each row is in each resample."""
    generator = np.random.default_rng(seed)
    # One byte is enough: a row is drawn once on average, and 256 times practically never.
    counts = np.empty((RESAMPLES, samples), dtype=np.uint8)
    for row in counts:
        row[:] = np.bincount(generator.integers(0, samples, samples), minlength=samples)
    return counts
