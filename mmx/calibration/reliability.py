"""Reliability: how often answers of some confidence are right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmx.metrics import Answers
from mmx.metrics.ece import place_in_bins, read_confidences

BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """The answers of one bin of confidence.

    Attributes:
        count: How many there are.
        confidence: Their mean confidence.
        accuracy: The share of them that is right.
    """

    count: int
    confidence: float
    accuracy: float


def find_reliability(answers: Answers, bins: int = BINS) -> list[ReliabilityBin]:
    """Return the bins that have answers, from the least confidence up; as of the ECE."""
    of_rows, hits = read_confidences(answers)
    confidences, right = of_rows.ravel(), hits.ravel()
    places = place_in_bins(confidences, bins)
    found = []
    for place in np.unique(places):
        inside = places == place
        mean, share = float(confidences[inside].mean()), float(right[inside].mean())
        found.append(ReliabilityBin(int(inside.sum()), mean, share))
    return found
