"""Matthews' correlation coefficient of answers and truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmx.metrics.base import Answers, Floats, SumMetric, name_only_class


@dataclass(frozen=True, kw_only=True)
class Mcc(SumMetric):
    """Matthews' correlation coefficient. Use it where the classes differ much in frequency.

        (N Σ_i [ŷ_i = y_i] - Σ_c p_c t_c) / √((N² - Σ_c p_c²) (N² - Σ_c t_c²))

    with p_c answers and t_c rows of class c; 0 if all answers are of one class, as in scikit-learn.

    Reference: Gorodkin 2004, Comparing two K-category assignments by a K-category correlation
    coefficient.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"classes"})
    span: ClassVar[float] = 2.0

    def explain_undefined(self, answers: Answers) -> str:
        """Return why it has no value; see :class:`Metric`."""
        return name_only_class(answers)

    def measure(self, answers: Answers) -> float:
        """Return its value."""
        from sklearn.metrics import matthews_corrcoef  # slow to import

        return float(matthews_corrcoef(answers.truth, answers.decided))

    def keep(self, answers: Answers) -> Floats:
        """Return ``(N, 1 + 2 C)``: whether it is right, the decided and the true class."""
        right = (answers.decided == answers.truth)[:, None]
        parts = [right, answers.decided_labels, answers.labels]
        kept: Floats = np.concatenate(parts, axis=1).astype(np.float64)
        return kept

    def of_sums(self, sums: Floats, count: int) -> Floats:
        """Return the metric of sums over rows; NaN where all rows have one class."""
        right, (decided, true) = sums[..., 0], np.split(sums[..., 1:], 2, axis=-1)
        # N · hits - Σ_k d_k t_k, the covariance of decisions and truth times N² (Gorodkin 2004).
        both = right * count - (decided * true).sum(-1)
        # N² - Σ_k d_k²: 0 where one class is always decided, and the coefficient is then 0.
        of_decided = count**2 - (decided**2).sum(-1)
        of_true = count**2 - (true**2).sum(-1)
        scale = np.sqrt(of_decided * of_true)
        found = np.divide(both, scale, out=np.zeros_like(both), where=scale > 0)
        return np.where(of_true > 0, found, np.nan)
