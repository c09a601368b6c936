"""Chance: whether a model does better than always saying the most frequent class.

Shape legend: ``N`` test samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mmx.tasks import Target

FALSE_ALARMS = 0.05
"""How often a model that knows nothing may pass for one that has learned."""


@dataclass(frozen=True)
class Chance:
    """The best that one answer for all test samples can do.

    Attributes:
        accuracy: Part of the most frequent class among the test samples.
        samples: N.
    """

    accuracy: float
    samples: int

    def beaten(self, accuracy: float) -> bool:
        """Return whether an accuracy is above chance beyond binomial noise.

            P(X ≥ k) < 0.05,  X ~ Binomial(N, chance),  k = accuracy · N

        Exact; a mean over seeds counts as one test of N samples, since all seeds see the same.

        Args:
            accuracy: Of a model, on the same samples.
        """
        if accuracy <= self.accuracy:
            return False
        count, part = self.samples, self.accuracy
        hits = math.ceil(accuracy * count - 1e-9)  # 0.3 · 10 is not quite 3
        ways = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
        term = math.exp(ways + hits * math.log(part) + (count - hits) * math.log1p(-part))
        tail = 0.0
        while hits <= count and term > 1e-12:  # above the mean each term is less than the last
            tail += term
            term *= (count - hits) / (hits + 1) * part / (1 - part)
            hits += 1
        return tail < FALSE_ALARMS


def find_chance(values: Tensor, target: Target) -> Chance | None:
    """Return the chance of a test split; None where the target is no class.

    Args:
        values: ``(N,)`` true classes on the CPU.
        target: What they mean.
    """
    if target.kind != "classes" or not len(values):
        return None
    counts = np.bincount(values.numpy())
    return Chance(float(counts.max() / counts.sum()), len(values))
