"""The mean absolute error as a fraction of the truth; undefined where a true value is 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmx.metrics.base import Answers, Floats, MeanMetric


@dataclass(frozen=True, kw_only=True)
class Mape(MeanMetric):
    """The mean absolute error as a fraction of the truth; undefined where a true value is 0.

    mean_i |ŷ_i - y_i| / |y_i|
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"regression"})
    lower_is_better: ClassVar[bool] = True

    def explain_undefined(self, answers: Answers) -> str:
        """Return why it has no value; see :class:`Metric`."""
        zeros = int((answers.truth == 0).sum())
        if zeros:
            return f"{zeros} of {len(answers.truth)} true values are 0"
        return super().explain_undefined(answers)

    def measure(self, answers: Answers) -> float:
        """Return its value."""
        from sklearn.metrics import mean_absolute_percentage_error  # slow to import

        return float(mean_absolute_percentage_error(answers.truth, answers.scores))

    def of_rows(self, answers: Answers) -> Floats:
        """Return ``(N,)``: the error of each row."""
        found: Floats = np.abs((answers.scores - answers.truth) / answers.truth)
        return found
