"""The mean negative log-probability of the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmx.metrics.base import LABELLED, Answers, Floats, MeanMetric

LEAST = float(np.finfo(np.float64).eps)


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
        truth, chances = answers.truth, answers.scores
        if answers.kind == "multilabel":
            yes = chances.ravel()
            truth, chances = truth.ravel(), np.stack([1 - yes, yes], axis=1)
        logs = np.log(np.clip(chances, LEAST, 1 - LEAST))
        return float(-logs[np.arange(len(truth)), truth].mean())

    def of_rows(self, answers: Answers) -> Floats:
        """Return ``(N,)``: the loss of each row."""
        chances, labels = np.clip(answers.scores, LEAST, 1 - LEAST), answers.labels
        losses: Floats
        if answers.kind == "classes":
            chances = chances / chances.sum(1, keepdims=True)
            losses = -np.log((chances * labels).sum(1))
        else:
            losses = -np.log(np.where(labels == 1, chances, 1 - chances)).mean(1)
        return losses
