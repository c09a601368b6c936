"""The mean squared error, in the square of the task's unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mmx.metrics.base import Answers, Floats, MeanMetric


@dataclass(frozen=True, kw_only=True)
class Mse(MeanMetric):
    """The mean squared error, in the square of the task's unit.

    mean_i (ŷ_i - y_i)²
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"regression"})
    lower_is_better: ClassVar[bool] = True

    def measure(self, answers: Answers) -> float:
        """Return its value."""
        from sklearn.metrics import mean_squared_error  # slow to import

        return float(mean_squared_error(answers.truth, answers.scores))

    def of_rows(self, answers: Answers) -> Floats:
        """Return ``(N,)``: the error of each row."""
        found: Floats = (answers.scores - answers.truth) ** 2
        return found
