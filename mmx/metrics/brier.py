"""The mean squared error of probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mmx.metrics.base import LABELLED, Answers, Floats, MeanMetric


@dataclass(frozen=True, kw_only=True)
class Brier(MeanMetric):
    """The mean squared error of probabilities: both right and well calibrated answers are better.

        two classes     mean_i (p_i - y_i)²        of the second class
        more classes    mean_i Σ_c (p_ic - y_ic)²
        labels          the mean over labels of that of two classes

    Reference: Brier 1950, Verification of forecasts expressed in terms of probability.
    """

    kinds: ClassVar[frozenset[str]] = LABELLED
    lower_is_better: ClassVar[bool] = True
    span: ClassVar[float] = 2.0

    def measure(self, answers: Answers) -> float:
        """Return its value."""
        from sklearn.metrics import mean_squared_error  # slow to import

        # scikit-learn's own function has several classes from version 1.7 on alone.
        found = float(mean_squared_error(answers.labels, answers.scores))
        several = answers.kind == "classes" and len(answers.classes) > 2
        return found * len(answers.classes) if several else found

    def of_rows(self, answers: Answers) -> Floats:
        """Return ``(N,)``: the error of each row."""
        errors = (answers.scores - answers.labels) ** 2
        several = answers.kind == "classes" and len(answers.classes) > 2
        # Of two classes both have the same error, so the mean is the error of one of them.
        found: Floats = errors.sum(1) if several else errors.mean(1)
        return found
