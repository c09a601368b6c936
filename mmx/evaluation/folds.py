"""Means over the folds of a cross-validation, and how certain they are.

Folds share training rows, so what is measured on them is not independent: Student's t of the
folds' values would be too narrow. Nadeau and Bengio correct the variance of the mean,

    var(δ̄) ≈ (1 / n + n_test / n_train) s²        δ̄ ± t(n - 1) √var(δ̄)

where n is the number of values, k folds times r repeats, and s² their variance. n_train counts all
rows that are not tested, of which validation rows are a part: n_test / n_train = 1 / (k - 1).

Reference: Nadeau and Bengio 2003, Inference for the generalization error; Bouckaert and Frank
2004, for repeats.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from mmx.metrics.base import Floats


def average_parts(values: Floats, parts: Sequence[Hashable]) -> Floats:
    """Return ``(n,)`` the mean of the values of each part, in the order in which parts occur.

    Several seeds of one fold are one value: they were tested on the same rows.

    Args:
        values: ``(R,)`` one for each run.
        parts: Repeat and fold of each run.
    """
    found: dict[Hashable, list[float]] = {}
    for part, value in zip(parts, values.tolist(), strict=True):
        found.setdefault(part, []).append(value)
    return np.array([np.mean(each) for each in found.values()])


def find_half_width_of_folds(values: Floats, folds: int, level: float, least: float = 0.0) -> float:
    """Return half the width of the interval of a mean over folds.

    Args:
        values: ``(n,)`` one for each fold and repeat, two or more.
        folds: Number of folds of a partition, k.
        level: The confidence level.
        least: The least variance that can be observed.
    """
    from scipy.special import stdtrit  # slow to import

    count = len(values)
    # Equal values have no variance; computed, it would be the rounding error of their mean.
    variance = values.var(ddof=1) if np.ptp(np.round(values, 12)) else 0.0
    # Nadeau and Bengio 2003: folds share training rows, so the test share 1 / (k - 1) is added to 1
    # / n.
    spread = max(float(variance), least) * (1 / count + 1 / (folds - 1))
    return float(stdtrit(count - 1, (1 + level) / 2)) * math.sqrt(spread)
