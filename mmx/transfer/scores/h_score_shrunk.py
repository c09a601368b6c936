"""H-score with a shrunk covariance, for few rows."""

from __future__ import annotations

from torch import Tensor

from mmx.transfer.scores.base import Score
from mmx.transfer.scores.h_score import h_score


class HScoreShrunk(Score):
    """H-score with the covariance of Ledoit and Wolf: use it when rows are few."""

    rank = 3

    def compute(self, x: Tensor, y: Tensor) -> float:
        """Return H_shrunk; see :func:`~mmx.transfer.scores.h_score`."""
        return h_score(x, y, shrinkage=True)
