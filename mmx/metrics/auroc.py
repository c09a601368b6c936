"""The area under the ROC curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmx.metrics.base import Answers, Floats
from mmx.metrics.ranked import RankedMetric, read_columns, sum_by_score


@dataclass(frozen=True, kw_only=True)
class Auroc(RankedMetric):
    """The area under the ROC curve: how often a row of the class has the higher score of two.

        P(s_i > s_j) + P(s_i = s_j) / 2,  i a row of the class, j another row

    0.5 is chance. It needs no threshold, and does not depend on how frequent the class is.

    Reference: Hanley and McNeil 1982, The meaning and use of the area under a ROC curve.
    """

    def measure(self, answers: Answers) -> float:
        """Return its value."""
        from sklearn.metrics import roc_auc_score  # slow to import

        scores, labels = read_columns(answers)
        if scores.shape[1] == 1:
            return float(roc_auc_score(labels[:, 0], scores[:, 0]))
        return float(roc_auc_score(labels, scores, average=self.average))

    def of_column(self, scores: Floats, labels: Floats, weights: Floats) -> Floats:
        """Return the ``(R,)`` values of one class; see :class:`RankedMetric`."""
        positive, negative = sum_by_score(scores, weights * labels, weights * (1 - labels))
        # (R, distinct scores): weight of the others below each score
        below = np.cumsum(negative, axis=1) - negative
        # A pair of equal scores counts half, as in the statistic of Mann and Whitney.
        wins = (positive * (below + negative / 2)).sum(1)
        pairs = positive.sum(1) * negative.sum(1)  # all pairs of a row of the class and another one
        value: Floats = np.divide(wins, pairs, out=np.full_like(wins, np.nan), where=pairs > 0)
        return value
