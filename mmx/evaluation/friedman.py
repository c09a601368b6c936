"""Ranks of several methods over several targets: Friedman's test and Nemenyi's critical difference.

Shape legend: ``T`` targets, ``M`` methods.

Whether methods differ at all is Friedman's test of their ranks, in the form of Iman and
Davenport, which is less conservative than the χ² of the original:

    χ² = 12 T / (M (M + 1)) · (Σ R_m² - M (M + 1)² / 4)      F = (T - 1) χ² / (T (M - 1) - χ²)

where R_m are the mean ranks. Two methods differ if their mean ranks differ by more than

    CD = q √(M (M + 1) / (6 T))

where q is the quantile of the Studentized range of M means with infinite degrees of freedom,
divided by √2.

Reference: Demšar 2006, Statistical comparisons of classifiers over multiple data sets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mmx.metrics.base import Floats

FEWEST_TARGETS = 3
"""Of two targets, no difference of ranks is significant whatever the methods are."""


@dataclass(frozen=True)
class Ranks:
    """The ranks of methods over targets.

    Attributes:
        means: ``(M,)`` mean rank of each method, from 1 for the best; equal values share a rank.
        targets: T.
        p: Of Friedman's test, in the form of Iman and Davenport, but never less than what so few
            targets can show: the probability that chance alone orders methods as they are here.
        critical_difference: Two methods whose mean ranks differ by less are not told apart.
        level: Confidence level of the critical difference.
    """

    means: tuple[float, ...]
    targets: int
    p: float
    critical_difference: float
    level: float


def rank_methods(values: Floats, *, level: float = 0.95) -> Ranks:
    """Return the ranks of methods over targets.

    Args:
        values: ``(T, M)``, T ≥ 2 and M ≥ 2; the larger, the better.
        level: Confidence level of the critical difference.

    Example:
        >>> ranks = rank_methods(np.array([[0.9, 0.8, 0.1], [0.7, 0.6, 0.5], [0.8, 0.4, 0.3]]))
        >>> ranks.means
        (1.0, 2.0, 3.0)
    """
    from scipy.stats import f, rankdata, studentized_range  # slow to import

    targets, methods = values.shape
    ranks = rankdata(-values, axis=1)  # the best method has rank 1, ties share the mean
    means = ranks.mean(0)
    # Σ_j R̄_j² if all methods had the mean rank (M + 1) / 2.
    centre = methods * (methods + 1) ** 2 / 4
    # Friedman's χ² = 12 T / (M (M + 1)) (Σ R̄² - M (M + 1)² / 4), with R̄ over T targets.
    chi2 = 12 * targets / (methods * (methods + 1)) * float((means**2).sum() - centre)
    # Equal ranks make the statistic smaller than it can be without them.
    ties = sum(
        float((counts**3 - counts).sum())
        for counts in (np.unique(row, return_counts=True)[1] for row in ranks)
    )
    free = 1 - ties / (targets * (methods**3 - methods))
    chi2 = chi2 / free if free > 0 else 0.0
    # Iman and Davenport 1980: F = (T - 1) χ² / (T (M - 1) - χ²), less conservative than χ².
    rest = targets * (methods - 1) - chi2
    if rest <= 1e-12:
        p = 0.0  # all targets order the methods in the same way; see the least p below
    else:
        statistic = (targets - 1) * chi2 / rest
        p = float(f.sf(statistic, methods - 1, (methods - 1) * (targets - 1)))
    p = max(p, _find_least_p(ranks))
    # Nemenyi's critical difference: the studentized range over √2 (Demšar 2006).
    q = float(studentized_range.ppf(level, methods, np.inf)) / math.sqrt(2)
    difference = q * math.sqrt(methods * (methods + 1) / (6 * targets))
    return Ranks(tuple(means.tolist()), targets, p, difference, level)


def _find_least_p(ranks: Floats) -> float:
    """Return the least p of a permutation test of ranks, ``(T, M)``.

    Under the null hypothesis, all orders of a row's ranks are equally likely, and naming methods
    differently changes nothing: without ties, M! of (M!)^T cases are alike.
    """
    methods = ranks.shape[1]
    logs = []
    for row in ranks:
        _, counts = np.unique(row, return_counts=True)
        # ln(M! / Π c!): the logarithm of how many orders a row's ranks can have.
        logs.append(math.lgamma(methods + 1) - sum(math.lgamma(each + 1) for each in counts))
    return math.exp(max(logs) - sum(logs))
