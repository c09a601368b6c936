"""Average precision; its mean over labels is mAP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmx.metrics.base import Floats, Integers
from mmx.metrics.ranked import RankedMetric, count_above, sum_by_score


@dataclass(frozen=True, kw_only=True)
class AveragePrecision(RankedMetric):
    """Average precision, the area under the curve of precision over recall; mAP is its mean.

        Σ_t (R_t - R_{t-1}) P_t,  t over the distinct scores from the highest down

    Chance is the share of rows with the class. Use it for classes or labels that are rare.
    """

    needs_others: ClassVar[bool] = False

    def measure_column(self, scores: Floats, labels: Integers) -> float:
        """Return the value of one class; see :class:`RankedMetric`."""
        hits, misses = count_above(scores, labels)
        precision, recall = hits / (hits + misses), hits / hits[-1]
        steps = np.diff(np.r_[recall[::-1], 0.0]) * precision[::-1]
        return max(0.0, float(-steps.sum()))

    def of_column(self, scores: Floats, labels: Floats, weights: Floats) -> Floats:
        """Return the ``(R,)`` values of one class; see :class:`RankedMetric`."""
        positive, every = sum_by_score(-scores, weights * labels, weights)
        hits, rows = np.cumsum(positive, axis=1), np.cumsum(every, axis=1)
        precision = np.divide(hits, rows, out=np.zeros_like(hits), where=rows > 0)
        total = hits[:, -1]
        found = (positive * precision).sum(1)
        value: Floats = np.divide(found, total, out=np.full_like(found, np.nan), where=total > 0)
        return value
