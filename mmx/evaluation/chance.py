"""Chance: whether a model does better than one answer for all rows.

Shape legend: ``N`` test rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # readers of a summary do without torch
    from torch import Tensor

    from mmx.tasks import Target

FALSE_ALARMS = 0.05
"""Significance level: how often a model at chance level passes for one that has learned."""


@dataclass(frozen=True)
class Chance:
    """What one answer for all test rows reaches.

    Attributes:
        accuracy: Fraction of the most frequent class among the test rows.
        samples: N.
        metric: The metric in which a model is held against chance.
        value: The metric of one answer, the frequencies of the test rows' classes.
        bound: The metric that a model must reach to be better than chance beyond the noise of
            the test rows; None for accuracy, which has an exact test.
        lower_is_better: Whether a smaller metric is better.
    """

    accuracy: float
    samples: int
    metric: str = "accuracy"
    value: float | None = None
    bound: float | None = None
    lower_is_better: bool = False

    def is_beaten_by(self, value: float) -> bool:
        """Return whether a value of the metric is better than chance."""
        if self.bound is None:
            return self._is_accuracy_beaten(value)
        return value < self.bound if self.lower_is_better else value > self.bound

    def _is_accuracy_beaten(self, accuracy: float) -> bool:
        """Return whether an accuracy is above chance beyond binomial noise.

            P(X ≥ k) < 0.05,  X ~ Binomial(N, chance),  k = accuracy · N

        An exact binomial test. A mean over seeds counts as one test of N rows, since all seeds
        are tested on the same rows.

        Args:
            accuracy: A model's accuracy on the same rows.
        """
        if accuracy <= self.accuracy:
            return False
        count, part = self.samples, self.accuracy
        hits = math.ceil(accuracy * count - 1e-9)  # 0.3 · 10 may be slightly above 3
        # The probability of exactly k hits, in logarithms: factorials of large N overflow.
        ways = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
        term = math.exp(ways + hits * math.log(part) + (count - hits) * math.log1p(-part))
        tail = 0.0
        while hits <= count and term > 1e-12:  # above the mean, the terms fall
            tail += term
            term *= (count - hits) / (hits + 1) * part / (1 - part)
            hits += 1
        return tail < FALSE_ALARMS


def find_chance(values: Tensor, target: Target) -> Chance | None:
    """Return the chance of a test split; None if the target is not of kind classes.

    Args:
        values: ``(N,)`` true classes on the CPU.
        target: What they mean.
    """
    if target.kind != "classes" or not len(values):
        return None
    counts = values.bincount()
    return Chance(int(counts.max()) / len(values), len(values))
