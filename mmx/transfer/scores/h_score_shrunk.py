"""H-score with a shrunk covariance, for few rows."""

from __future__ import annotations

from torch import Tensor

from mmx.transfer.scores.base import Score
from mmx.transfer.scores.h_score import h_score


class HScoreShrunk(Score):
    """H-score, the covariance estimated as Ledoit and Wolf do."""

    rank = 3

    def compute(self, x: Tensor, y: Tensor) -> float:
        """Return H_shrunk; see :func:`~mmx.transfer.scores.h_score`."""
        return h_score(x, y, shrinkage=True)
