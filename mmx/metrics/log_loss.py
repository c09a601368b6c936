"""The mean negative log-probability of the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmx.metrics.base import LABELLED, Answers, Floats, MeanMetric


@dataclass(frozen=True, kw_only=True)
class LogLoss(MeanMetric):
    """The mean negative log-probability of the true class, or over all labels.

        - mean_i ln p_i(y_i)

    Probabilities are kept at 2⁻⁵² or more away from 0 and 1, as in scikit-learn.
    """

    kinds: ClassVar[frozenset[str]] = LABELLED
    lower_is_better: ClassVar[bool] = True

    def measure(self, answers: Answers) -> float:
        """Return its value."""
        from sklearn.metrics import log_loss  # slow to import

        if answers.kind == "classes":
            labels = np.arange(len(answers.classes))
            return float(log_loss(answers.truth, answers.scores, labels=labels))
        return float(log_loss(answers.truth.ravel(), answers.scores.ravel(), labels=[0, 1]))

    def of_rows(self, answers: Answers) -> Floats:
        """Return ``(N,)``: the loss of each row."""
        least = np.finfo(np.float64).eps
        # As scikit-learn does: clipped, then normalised, so that no logarithm is infinite.
        chances, labels = np.clip(answers.scores, least, 1 - least), answers.labels
        losses: Floats
        if answers.kind == "classes":
            chances = chances / chances.sum(1, keepdims=True)
            # one-hot labels pick the true class's probability
            losses = -np.log((chances * labels).sum(1))
        else:
            losses = -np.log(np.where(labels == 1, chances, 1 - chances)).mean(1)
        return losses
