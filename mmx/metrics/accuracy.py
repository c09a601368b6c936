"""The share of rows that are answered right; of label sets, those that are right as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmx.metrics.base import LABELLED, Answers, Floats, MeanMetric


@dataclass(frozen=True, kw_only=True)
class Accuracy(MeanMetric):
    """The share of right answers. Use it where classes are about equally frequent.

    Σ_i [ŷ_i = y_i] / N
    """

    kinds: ClassVar[frozenset[str]] = LABELLED
    span: ClassVar[float] = 1.0
    counts_rows: ClassVar[bool] = True

    def measure(self, answers: Answers) -> float:
        """Return its value."""
        from sklearn.metrics import accuracy_score  # slow to import

        return float(accuracy_score(answers.truth, answers.decided))

    def of_rows(self, answers: Answers) -> Floats:
        """Return ``(N,)``: 1 where a row is answered right."""
        # Several labels: a row is right if all of them are, (N, L) → (N,).
        right = (answers.decided == answers.truth).reshape(len(answers.truth), -1).all(1)
        found: Floats = right.astype(np.float64)
        return found
