"""Metrics: how good a model's answers are, as one number.

Shape legend: ``N`` rows, ``C`` classes or labels, ``K`` columns, ``R`` resamples.

``metric=auroc`` chooses the one that selects epochs, stops training, is compared, and in which
a gain is stated. A metric is computed on a whole split, by scikit-learn or SciPy, never averaged
over batches. What a metric keeps of each row is enough for its value on any resample of the rows,
so that intervals and tests are made from stored answers.
"""

from mmx.metrics.base import Answers, Floats, Integers, MeanMetric, Metric, SumMetric
from mmx.metrics.known import (
    BY_NAME,
    USUAL,
    USUAL_NAMES,
    describe_metric,
    find_bounds,
    find_built_in,
    find_direction,
    restore_metric,
)

__all__ = [
    "BY_NAME",
    "USUAL",
    "USUAL_NAMES",
    "Answers",
    "Floats",
    "Integers",
    "MeanMetric",
    "Metric",
    "SumMetric",
    "describe_metric",
    "find_bounds",
    "find_built_in",
    "find_direction",
    "restore_metric",
]
