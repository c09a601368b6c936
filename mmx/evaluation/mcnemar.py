"""McNemar's exact test and Tango's interval for two models' accuracies on the same test rows.

Shape legend: ``N`` test rows (samples).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from mmx.evaluation.sample_metric import SampleScores


@dataclass(frozen=True)
class Discordant:
    """On how many samples only one of two models is right; only these tell the models apart.

    Attributes:
        first: Samples on which only the first is right.
        second: Samples on which only the second is right.
        samples: N.
    """

    first: int
    second: int
    samples: int

    @classmethod
    def of(cls, first: SampleScores, second: SampleScores) -> Discordant | None:
        """Return the counts; None if the metric is not a mean of hits and misses."""
        hits, others = first.statistics, second.statistics
        counted = first.metric == "accuracy" and all(
            np.isin(each, (0.0, 1.0)).all() for each in (hits, others)
        )
        if not counted:
            return None
        return cls(int((hits > others).sum()), int((hits < others).sum()), len(hits))

    @property
    def difference(self) -> float:
        """The difference of the accuracies, first minus second."""
        return (self.first - self.second) / self.samples

    @property
    def p(self) -> float:
        """The two-sided p-value of McNemar's exact test.

            min(1, 2 · P(X ≤ min(b, c))),  X ~ Binomial(b + c, 1/2)

        Reference: McNemar 1947, Note on the sampling error of the difference between
        correlated proportions or percentages.
        """
        from scipy.special import bdtr  # slow to import

        fewer, both = min(self.first, self.second), self.first + self.second
        # the discordant samples are right for one or the other like throws of a coin
        return min(1.0, 2 * float(bdtr(fewer, both, 0.5))) if both else 1.0

    def interval(self, level: float) -> tuple[float, float]:
        """Return Tango's score interval for the difference of the accuracies.

        It contains all θ that the score test does not reject:

            |b - c - N θ| ≤ z √(N (2 q + θ (1 - θ)))

        where q is the maximum-likelihood estimate, given θ, of the fraction of samples on which
        only the second model is right. Unlike a bootstrap interval it keeps its level with few
        discordant samples, and has a positive width with none. At θ = 0 it is McNemar's test
        without continuity correction, so that it may exclude 0 although the exact test does not
        reject.

        Args:
            level: The confidence level.

        Reference: Tango 1998, Equivalence test and confidence interval for the difference in
        proportions for the paired-sample design.
        """
        z = NormalDist().inv_cdf((1 + level) / 2)
        turned = Discordant(self.second, self.first, self.samples)
        # The interval's lower end is the upper end of the opposite difference.
        return -turned._highest(z), self._highest(z)

    def _highest(self, z: float) -> float:
        """Return the largest difference that the score test does not reject."""
        from scipy.optimize import brentq  # slow to import

        if self.first == self.samples:
            return 1.0

        def outside(theta: float) -> float:
            return -self._score(theta) - z

        return float(brentq(outside, self.difference, 1 - 1e-12, xtol=1e-15, rtol=1e-14))

    def _score(self, theta: float) -> float:
        """Return the score statistic of a difference θ."""
        b, c, n = self.first, self.second, self.samples
        over = b - c - n * theta
        # Where the observed difference is θ, the variance may be 0 as well.
        if abs(over) < 1e-9:
            return 0.0
        # q is the larger root of 2 n q² + linear · q - c θ (1 - θ) = 0 (Tango 1998).
        linear = (2 * n - b + c) * theta - b - c
        root = math.sqrt(max(0.0, linear**2 + 8 * n * c * theta * (1 - theta)))
        # q, the chance that only the second model is right, if the difference is θ.
        part = (root - linear) / (4 * n)
        return over / math.sqrt(max(n * (2 * part + theta * (1 - theta)), 1e-300))
