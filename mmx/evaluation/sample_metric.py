"""The contribution of each test row (sample) to the primary metric.

Shape legend: ``N`` test rows (samples), ``K`` statistics, ``C`` outputs, ``R`` resamples.

A primary metric is a function of sums over samples. Keeping what each sample adds to these sums
makes the metric of any resample of the test set one matrix product, even for metrics that are
not means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mmx.evaluation.metrics import PRIMARY, decide
from mmx.tasks import Target

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SampleScores:
    """What a model's primary metric depends on, for each test sample.

        accuracy   [hit]                 Σ hit / N
        f1_macro   [hit_c, count_c]      mean over c of 2 Σ hit_c / Σ count_c, where 0 / 0 is 0
        r2         [e², y, y²]           1 - Σ e² / (Σ y² - (Σ y)² / N)

    where ``count_c`` is 2 for a label that is both true and predicted, 1 if it is only one.

    Attributes:
        metric: accuracy, f1_macro (of several labels per row) or r2.
        statistics: ``(N, K)``.
        rows: ``(N,)`` row numbers of the samples in the task.
    """

    metric: str
    statistics: Floats
    rows: Indices

    @property
    def value(self) -> float:
        """The metric of all samples."""
        return float(self.of_sums(self.statistics.sum(0)))

    def of_sums(self, sums: Floats) -> Floats:
        """Return the metric of sums over N samples, ``(..., K)`` to ``(...)``."""
        count = len(self.statistics)
        found: Floats
        if self.metric == "accuracy":
            found = sums[..., 0] / count
        elif self.metric == "f1_macro":
            hits, counts = np.split(sums, 2, axis=-1)
            found = np.divide(2 * hits, counts, out=np.zeros_like(hits), where=counts > 0).mean(-1)
        else:
            errors, first, second = np.moveaxis(sums, -1, 0)
            spread = second - first**2 / count
            # As scikit-learn's r2 of a constant target: 1 if predicted exactly, otherwise 0.
            lost = np.array(errors > 0, dtype=np.float64)
            found = 1 - np.divide(errors, spread, out=lost, where=spread > 0)
        return found


Pair = tuple[SampleScores, SampleScores]
"""Scores of two models (under transfer, under the control) of one seed on the same samples."""


def score_samples(outputs: Tensor, values: Tensor, target: Target, rows: Indices) -> SampleScores:
    """Return the scores of a model's outputs.

    Args:
        outputs: ``(N, C)`` on the CPU.
        values: ``(N,)`` or ``(N, C)`` targets on the CPU; numbers are in the task's own unit.
        target: What the values mean.
        rows: ``(N,)`` row numbers.
    """
    metric = PRIMARY[target.kind]
    if target.kind == "regression":
        truth = values.double().numpy()
        # Divided by the standard deviation, since squares in the task's unit may overflow. r2 is
        # invariant to scale.
        errors = ((target.restore(outputs).numpy() - truth) / target.std) ** 2
        truth = truth / target.std
        truth = truth - truth.mean()  # r2 is invariant to shift, and Σ y² loses no digits
        return SampleScores(metric, np.stack([errors, truth, truth**2], axis=1), rows)
    decided = decide(outputs, target).numpy()
    if target.kind == "classes":
        hits = (decided == values.numpy()).astype(np.float64)
        return SampleScores(metric, hits[:, None], rows)
    wanted = values.numpy().astype(np.int64)
    parts = [decided * wanted, decided + wanted]
    return SampleScores(metric, np.concatenate(parts, axis=1).astype(np.float64), rows)
