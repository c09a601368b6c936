"""The mean recall of the classes, however frequent they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmx.metrics.base import Answers, Floats, SumMetric


@dataclass(frozen=True, kw_only=True)
class BalancedAccuracy(SumMetric):
    """The mean recall of the classes that occur. Use it where classes differ in frequency.

    mean over c of Σ_i [ŷ_i = y_i = c] / Σ_i [y_i = c]
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"classes"})
    span: ClassVar[float] = 1.0
    counts_rows: ClassVar[bool] = True

    def measure(self, answers: Answers) -> float:
        """Return its value."""
        from sklearn.metrics import recall_score  # slow to import

        present = np.unique(answers.truth)
        return float(recall_score(answers.truth, answers.decided, labels=present, average="macro"))

    def keep(self, answers: Answers) -> Floats:
        """Return ``(N, 2 C)``: hits of each class, and its rows."""
        labels = answers.labels
        hits = labels * (answers.decided == answers.truth)[:, None]
        kept: Floats = np.concatenate([hits, labels], axis=1).astype(np.float64)
        return kept

    def of_sums(self, sums: Floats, count: int) -> Floats:
        """Return the metric of sums over rows."""
        hits, rows = np.split(sums, 2, axis=-1)
        recalls = np.divide(hits, rows, out=np.zeros_like(hits), where=rows > 0)
        # A class without rows has recall 0 here and is not counted, as if it were left out.
        found: Floats = recalls.sum(-1) / (rows > 0).sum(-1)
        return found
