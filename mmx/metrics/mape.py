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
        errors = np.abs(answers.scores - answers.truth)
        size = np.maximum(np.abs(answers.truth), np.finfo(np.float64).eps)
        return float((errors / size).mean())

    def of_rows(self, answers: Answers) -> Floats:
        """Return ``(N,)``: the error of each row."""
        found: Floats = np.abs((answers.scores - answers.truth) / answers.truth)
        return found
