"""What the primary metric depends on, for each test row (sample).

Shape legend: ``N`` test rows (samples), ``K`` columns, ``C`` outputs, ``R`` resamples.

Most metrics are functions of sums over samples. Keeping what each sample adds to these sums makes
the metric of any resample of the test set one matrix product, even for metrics that are not means.
Of the others each sample's answer and truth are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mmx.evaluation.metrics import PRIMARY, decide
from mmx.metrics import BY_NAME, Answers, Metric, SumMetric
from mmx.metrics.base import Floats
from mmx.tasks import Target

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SampleScores:
    """What a model's primary metric depends on, for each test sample.

        accuracy   [hit]                 Σ hit / N
        f1_macro   [hit_c, count_c]      mean over c of 2 Σ hit_c / Σ count_c, where 0 / 0 is 0
        r2         [e², y, y²]           1 - Σ e² / (Σ y² - (Σ y)² / N)

    where ``count_c`` is 2 for a label that is both true and predicted, 1 if it is only one. What
    other metrics keep is in their :meth:`~mmx.metrics.Metric.keep`.

    Attributes:
        metric: The name of the metric.
        statistics: ``(N, K)``.
        rows: ``(N,)`` row numbers of the samples in the task.
        chosen: The metric; None for one of :data:`~mmx.metrics.BY_NAME`.
        classes: Names of the classes or labels, for a metric that reads them.
    """

    metric: str
    statistics: Floats
    rows: Indices
    chosen: Metric | None = None
    classes: tuple[str, ...] = ()

    @property
    def form(self) -> Metric:
        """The metric."""
        return self.chosen if self.chosen is not None else BY_NAME[self.metric]

    @property
    def value(self) -> float:
        """The metric of all samples."""
        if isinstance(self.form, SumMetric):
            return float(self.of_sums(self.statistics.sum(0)))
        return float(self.of_weights(np.ones((1, len(self.statistics)), dtype=np.int64))[0])

    def gain_over(self, other: SampleScores) -> float:
        """Return how much better it is than another: the difference of values, or its negative."""
        return self.form.sign * (self.value - other.value)

    def of_sums(self, sums: Floats) -> Floats:
        """Return the metric of sums over N samples, ``(..., K)`` to ``(...)``.

        Raises:
            TypeError: The metric is no function of sums.
        """
        form = self.form
        if not isinstance(form, SumMetric):
            raise TypeError(f"{self.metric} is no function of sums over rows")
        return form.of_sums(sums, len(self.statistics))

    def of_weights(self, weights: npt.NDArray[Any]) -> Floats:
        """Return the ``(R,)`` metrics of resamples with each row ``(R, N)`` so many times."""
        return self.form.resample(self.statistics, weights, self.classes)


Pair = tuple[SampleScores, SampleScores]
"""Scores of two models (under transfer, under the control) of one seed on the same samples."""


def score_samples(
    outputs: Tensor,
    values: Tensor,
    target: Target,
    rows: Indices,
    chosen: Metric | None = None,
) -> SampleScores:
    """Return the scores of a model's outputs.

    Args:
        outputs: ``(N, C)`` on the CPU.
        values: ``(N,)`` or ``(N, C)`` targets on the CPU; numbers are in the task's own unit.
        target: What the values mean.
        rows: ``(N,)`` row numbers.
        chosen: The metric that ``metric=`` chooses; None: the usual one of the kind.
    """
    if chosen is not None and BY_NAME.get(chosen.name) != chosen:
        kept = chosen.keep(Answers.of(outputs, values, target))
        return SampleScores(chosen.name, kept, rows, chosen, target.classes)
    metric = PRIMARY[target.kind] if chosen is None else chosen.name
    if target.kind == "regression":
        truth = values.double().numpy()
        # Divided by the standard deviation, since squares in the task's unit may overflow. r2 is
        # invariant to scale.
        errors = ((target.restore(outputs).numpy() - truth) / target.std) ** 2
        truth = truth / target.std
        truth = truth - truth.mean()  # r2 is invariant to shift, and Σ y² loses no digits
        return SampleScores(metric, np.stack([errors, truth, truth**2], axis=1), rows)
    decided = decide(outputs, target).numpy()
    if metric == "accuracy" and target.kind == "classes":
        hits = (decided == values.numpy()).astype(np.float64)
        return SampleScores(metric, hits[:, None], rows)
    if metric != PRIMARY[target.kind]:  # accuracy of label sets, f1_macro of classes
        kept = BY_NAME[metric].keep(Answers.of(outputs, values, target))
        return SampleScores(metric, kept, rows)
    wanted = values.numpy().astype(np.int64)
    parts = [decided * wanted, decided + wanted]
    return SampleScores(metric, np.concatenate(parts, axis=1).astype(np.float64), rows)
