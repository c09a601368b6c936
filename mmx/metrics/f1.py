"""F1: the harmonic mean of precision and recall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mmx.metrics.base import LABELLED, Answers, Floats, SumMetric


@dataclass(frozen=True, kw_only=True)
class F1(SumMetric):
    """F1: the harmonic mean of precision and recall, averaged over classes or labels.

        F1_c = 2 hits_c / (predicted_c + true_c), where 0 / 0 is 0

    Args:
        average: ``macro``: the mean over c; ``micro``: of the sums over c; ``weighted``: the mean
            weighted by ``true_c``.
    """

    average: Literal["macro", "micro", "weighted"] = "macro"

    kinds: ClassVar[frozenset[str]] = LABELLED
    span: ClassVar[float] = 1.0
    counts_rows: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Its name, with the average."""
        return f"f1_{self.average}"

    def measure(self, answers: Answers) -> float:
        """Return its value."""
        from sklearn.metrics import f1_score  # slow to import

        truth, decided = answers.truth, answers.decided
        if truth.ndim == 2 and truth.shape[1] == 1:
            # scikit-learn takes one column for two classes, and would average over both.
            return float(f1_score(truth[:, 0], decided[:, 0], zero_division=0))
        return float(f1_score(truth, decided, average=self.average, zero_division=0))

    def keep(self, answers: Answers) -> Floats:
        """Return ``(N, 2 C)``: hits, and predicted + true; ``weighted`` keeps true as well.

        Of classes, a column of ones comes first: those that are neither true nor predicted do not
        count, while each of several labels does.
        """
        true, decided = answers.labels, answers.decided_labels
        # A column of ones marks classes: the remainder of the width tells them from labels below.
        first = [np.ones((len(true), 1))] if answers.kind == "classes" else []
        last = [true] if self.average == "weighted" else []
        parts = [*first, decided * true, decided + true, *last]
        kept: Floats = np.concatenate(parts, axis=1).astype(np.float64)
        return kept

    def of_sums(self, sums: Floats, count: int) -> Floats:
        """Return the metric of sums over rows."""
        parts = 3 if self.average == "weighted" else 2
        # 3 C + 1 or 2 C + 1 columns for classes, without the 1 for labels.
        of_classes = sums.shape[-1] % parts == 1
        sums = sums[..., 1:] if of_classes else sums
        hits, counts, *true = np.split(sums, parts, axis=-1)
        if self.average == "micro":
            hits, counts = hits.sum(-1, keepdims=True), counts.sum(-1, keepdims=True)
        # F1 = 2 TP / (predicted + true); 0 where a class is neither predicted nor true.
        each = np.divide(2 * hits, counts, out=np.zeros_like(hits), where=counts > 0)
        if self.average != "weighted":
            mean: Floats = each.mean(-1)
            if of_classes:
                # Only classes that occur or are predicted count, as in scikit-learn.
                mean = each.sum(-1) / (counts > 0).sum(-1)
            return mean
        total = true[0].sum(-1)
        found = (each * true[0]).sum(-1)
        average: Floats = np.divide(found, total, out=np.zeros_like(found), where=total > 0)
        return average
