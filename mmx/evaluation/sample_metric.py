"""What each test sample adds to the metric in which a gain is stated.

Shape legend: ``N`` test samples, ``K`` statistics, ``C`` outputs, ``R`` resamples.

A primary metric is a function of sums over samples. With what each sample adds to those sums
kept, the metric of any resample of the test set is one matrix product away, whether or not
the metric is a mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mmx.evaluation.metrics import PRIMARY, decide
from mmx.tasks import Target

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SampleScores:
    """A model's answers to the test samples, as far as its primary metric looks at them.

        accuracy   [hit]                 Σ hit / N
        f1_macro   [hit_c, said_c]       mean over c of 2 Σ hit_c / Σ said_c, 0 where that is 0 / 0
        r2         [e², y, y²]           1 - Σ e² / (Σ y² - (Σ y)² / N)

    where ``said_c`` is 2 for a label that is both true and predicted, 1 for one that is either.

    Attributes:
        metric: accuracy, f1_macro (of several labels a row) or r2.
        statistics: ``(N, K)``.
        rows: ``(N,)`` which samples they are: their numbers in the task.
    """

    metric: str
    statistics: Floats
    rows: Integers

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
            hits, said = np.split(sums, 2, axis=-1)
            found = np.divide(2 * hits, said, out=np.zeros_like(hits), where=said > 0).mean(-1)
        else:
            errors, first, second = np.moveaxis(sums, -1, 0)
            spread = second - first**2 / count
            # scikit-learn's r2 of a constant: 1 where it is met exactly, else 0.
            lost = np.array(errors > 0, dtype=np.float64)
            found = 1 - np.divide(errors, spread, out=lost, where=spread > 0)
        return found


Pair = tuple[SampleScores, SampleScores]
"""Of one seed: of two models (under transfer, under the control), of the same samples."""


def score_samples(outputs: Tensor, values: Tensor, target: Target, rows: Integers) -> SampleScores:
    """Return the scores of a model's outputs.

    Args:
        outputs: ``(N, C)`` on the CPU.
        values: ``(N,)`` or ``(N, C)`` targets on the CPU, numbers as they are in the task.
        target: What the values mean.
        rows: ``(N,)`` numbers of the samples.
    """
    metric = PRIMARY[target.kind]
    if target.kind == "regression":
        truth = values.double().numpy()
        # In deviations, as r2 has no unit: squares of the numbers themselves may overflow.
        errors = ((target.restore(outputs).numpy() - truth) / target.std) ** 2
        truth = truth / target.std
        truth = truth - truth.mean()  # r2 is the same, and no digits are lost in Σ y²
        return SampleScores(metric, np.stack([errors, truth, truth**2], axis=1), rows)
    decided = decide(outputs, target).numpy()
    if target.kind == "classes":
        hits = (decided == values.numpy()).astype(np.float64)
        return SampleScores(metric, hits[:, None], rows)
    wanted = values.numpy().astype(np.int64)
    parts = [decided * wanted, decided + wanted]
    return SampleScores(metric, np.concatenate(parts, axis=1).astype(np.float64), rows)
