"""Cohen's kappa: agreement with the truth beyond that of independent answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mmx.metrics.base import Answers, Floats, SumMetric, name_only_class


@dataclass(frozen=True, kw_only=True)
class CohenKappa(SumMetric):
    """Cohen's kappa: agreement with the truth beyond what independent answers would have.

        1 - Σ_i w(ŷ_i, y_i) / Σ_jk w(j, k) predicted_j true_k / N

    Args:
        weights: How much two classes disagree: ``none``: 1 where they differ; ``linear``:
            ``|j - k|``; ``quadratic``: ``(j - k)²``, for classes that are in order, as grades are.

    Reference: Cohen 1968, Weighted kappa.
    """

    weights: Literal["none", "linear", "quadratic"] = "none"

    kinds: ClassVar[frozenset[str]] = frozenset({"classes"})
    span: ClassVar[float] = 2.0

    @property
    def name(self) -> str:
        """Its name, with the weights if there are any."""
        return "cohen_kappa" if self.weights == "none" else f"cohen_kappa_{self.weights}"

    def explain_undefined(self, answers: Answers) -> str:
        """Return why it has no value; see :class:`Metric`."""
        return name_only_class(answers)

    def measure(self, answers: Answers) -> float:
        """Return its value."""
        from sklearn.metrics import cohen_kappa_score  # slow to import

        labels = np.arange(len(answers.classes))
        weights = None if self.weights == "none" else self.weights
        return float(
            cohen_kappa_score(answers.truth, answers.decided, labels=labels, weights=weights)
        )

    def keep(self, answers: Answers) -> Floats:
        """Return ``(N, 1 + 2 C)``: how much it disagrees, the decided and the true class."""
        table = self._disagreement(len(answers.classes))
        wrong = table[answers.decided, answers.truth][:, None]
        return np.concatenate([wrong, answers.decided_labels, answers.labels], axis=1)

    def of_sums(self, sums: Floats, count: int) -> Floats:
        """Return the metric of sums over rows; NaN where all rows have one class."""
        # Column 0 is the disagreement, then C columns of decided and C of true classes.
        wrong, (decided, true) = sums[..., 0], np.split(sums[..., 1:], 2, axis=-1)
        table = self._disagreement(true.shape[-1])
        # Σ_jk w_jk d_j t_k / N: what independent answers with these frequencies would disagree.
        expected = ((decided @ table) * true).sum(-1) / count
        several = (true > 0).sum(-1) > 1
        # One class only would be 0 / 0, which stays NaN.
        lost = np.divide(wrong, expected, out=np.full_like(wrong, np.nan), where=several)
        found: Floats = 1 - lost
        return found

    def _disagreement(self, classes: int) -> Floats:
        """Return w, ``(C, C)``."""
        # |j - k|: with linear weights the number of classes in between, plus one.
        apart = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes)))
        if self.weights == "none":
            apart = np.minimum(apart, 1)
        costs: Floats = (apart**2 if self.weights == "quadratic" else apart).astype(np.float64)
        return costs
