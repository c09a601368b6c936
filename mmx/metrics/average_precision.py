"""Average precision; its mean over labels is mAP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmx.metrics.base import Answers, Floats
from mmx.metrics.ranked import RankedMetric, read_columns, sum_by_score


@dataclass(frozen=True, kw_only=True)
class AveragePrecision(RankedMetric):
    """Average precision, the area under the curve of precision over recall; mAP is its mean.

        Σ_t (R_t - R_{t-1}) P_t,  t over the distinct scores from the highest down

    Chance is the share of rows with the class. Use it for classes or labels that are rare.
    """

    needs_others: ClassVar[bool] = False

    def measure(self, answers: Answers) -> float:
        """Return its value."""
        from sklearn.metrics import average_precision_score  # slow to import

        scores, labels = read_columns(answers)
        if scores.shape[1] == 1:
            return float(average_precision_score(labels[:, 0], scores[:, 0]))
        return float(average_precision_score(labels, scores, average=self.average))

    def of_column(self, scores: Floats, labels: Floats, weights: Floats) -> Floats:
        """Return the ``(R,)`` values of one class; see :class:`RankedMetric`."""
        # Negated: sums run from the highest score down, as a threshold falls.
        positive, every = sum_by_score(-scores, weights * labels, weights)
        hits, rows = np.cumsum(positive, axis=1), np.cumsum(every, axis=1)
        precision = np.divide(hits, rows, out=np.zeros_like(hits), where=rows > 0)
        total = hits[:, -1]
        # Σ (recall_k - recall_{k-1}) · precision_k, times the number of positive rows.
        found = (positive * precision).sum(1)
        value: Floats = np.divide(found, total, out=np.full_like(found, np.nan), where=total > 0)
        return value
