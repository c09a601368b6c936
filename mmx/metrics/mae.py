"""The mean absolute error, in the task's own unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmx.metrics.base import Answers, Floats, MeanMetric


@dataclass(frozen=True, kw_only=True)
class Mae(MeanMetric):
    """The mean absolute error, in the task's own unit.

    mean_i |ŷ_i - y_i|
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"regression"})
    lower_is_better: ClassVar[bool] = True

    def measure(self, answers: Answers) -> float:
        """Return its value."""
        from sklearn.metrics import mean_absolute_error  # slow to import

        return float(mean_absolute_error(answers.truth, answers.scores))

    def of_rows(self, answers: Answers) -> Floats:
        """Return ``(N,)``: the error of each row."""
        found: Floats = np.abs(answers.scores - answers.truth)
        return found
