"""Whether the true class is among the k most probable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from mmx.metrics.base import Answers, Floats, MeanMetric


@dataclass(frozen=True, kw_only=True)
class TopK(MeanMetric):
    """The share of rows with the true class among the k most probable. Use it for many classes.

    Of equally probable classes those with the larger index come first, as in scikit-learn.

    Args:
        k: How many classes count.
    """

    k: Annotated[int, Field(ge=1, le=10**6)] = 5

    kinds: ClassVar[frozenset[str]] = frozenset({"classes"})
    span: ClassVar[float] = 1.0
    counts_rows: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Its name, with k."""
        return f"top_{self.k}"

    def explain_undefined(self, answers: Answers) -> str:
        """Return why it has no value; see :class:`Metric`."""
        if self.k >= len(answers.classes):
            return f"the {self.k} most probable of {len(answers.classes)} classes are always right"
        return super().explain_undefined(answers)

    def measure(self, answers: Answers) -> float:
        """Return its value."""
        from sklearn.metrics import accuracy_score, top_k_accuracy_score  # slow to import

        # Here k is 1, and of two classes scikit-learn would take one column of scores.
        if len(answers.classes) == 2:
            return float(accuracy_score(answers.truth, answers.decided))
        labels = np.arange(len(answers.classes))
        return float(top_k_accuracy_score(answers.truth, answers.scores, k=self.k, labels=labels))

    def of_rows(self, answers: Answers) -> Floats:
        """Return ``(N,)``: 1 where the true class is among the first k."""
        if len(answers.classes) == 2:
            right = answers.decided == answers.truth
        else:
            # Reversed after a stable sort, so of equal scores the last class comes first, as in
            # scikit-learn.
            order = np.argsort(answers.scores, axis=1, kind="stable")[:, ::-1][:, : self.k]
            right = (order == answers.truth[:, None]).any(1)
        found: Floats = right.astype(np.float64)
        return found
