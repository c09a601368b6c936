"""The area under the ROC curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmx.metrics.base import Floats, Integers
from mmx.metrics.ranked import RankedMetric, count_above, sum_by_score


@dataclass(frozen=True, kw_only=True)
class Auroc(RankedMetric):
    """The area under the ROC curve: how often a row of the class has the higher score of two.

        P(s_i > s_j) + P(s_i = s_j) / 2,  i a row of the class, j another row

    0.5 is chance. It needs no threshold, and does not depend on how frequent the class is.

    Reference: Hanley and McNeil 1982, The meaning and use of the area under a ROC curve.
    """

    def measure_column(self, scores: Floats, labels: Integers) -> float:
        """Return the value of one class; see :class:`RankedMetric`."""
        hits, misses = count_above(scores, labels)
        if len(hits) > 2:  # points on a line between their neighbours add nothing to the area
            corners = np.logical_or(np.diff(misses, 2), np.diff(hits, 2))
            kept = np.flatnonzero(np.r_[True, corners, True])
            hits, misses = hits[kept], misses[kept]
        found, false = np.r_[0.0, hits] / hits[-1], np.r_[0.0, misses] / misses[-1]
        return float((np.diff(false) * (found[1:] + found[:-1]) / 2.0).sum())

    def of_column(self, scores: Floats, labels: Floats, weights: Floats) -> Floats:
        """Return the ``(R,)`` values of one class; see :class:`RankedMetric`."""
        positive, negative = sum_by_score(scores, weights * labels, weights * (1 - labels))
        below = np.cumsum(negative, axis=1) - negative
        wins = (positive * (below + negative / 2)).sum(1)
        pairs = positive.sum(1) * negative.sum(1)
        value: Floats = np.divide(wins, pairs, out=np.full_like(wins, np.nan), where=pairs > 0)
        return value
