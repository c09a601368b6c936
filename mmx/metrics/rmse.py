"""The root of the mean squared error, in the task's own unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmx.metrics.base import Answers, Floats, SumMetric


@dataclass(frozen=True, kw_only=True)
class Rmse(SumMetric):
    """The root of the mean squared error, in the task's own unit.

    √(mean_i (ŷ_i - y_i)²)
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"regression"})
    lower_is_better: ClassVar[bool] = True

    def measure(self, answers: Answers) -> float:
        """Return its value."""
        from sklearn.metrics import root_mean_squared_error  # slow to import

        return float(root_mean_squared_error(answers.truth, answers.scores))

    def keep(self, answers: Answers) -> Floats:
        """Return ``(N, 1)``: the error of each row."""
        errors: Floats = (answers.scores - answers.truth) ** 2
        return errors[:, None]

    def of_sums(self, sums: Floats, count: int) -> Floats:
        """Return the metric of sums over rows."""
        found: Floats = np.sqrt(sums[..., 0] / count)
        return found
