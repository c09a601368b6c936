"""Chance in the metric of the gain, whichever it is.

Shape legend: ``N`` test rows.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
from torch import Tensor

from mmx.evaluation.chance import FALSE_ALARMS, Chance, find_chance
from mmx.evaluation.gain_intervals import RESAMPLES, count_draws, draw_counts
from mmx.evaluation.sample_metric import SampleScores
from mmx.evaluation.subsets import compute_prior
from mmx.metrics import Answers
from mmx.tasks import Target

ONE_SIDED = NormalDist().inv_cdf(1 - FALSE_ALARMS)
"""Standard errors that a normal error exceeds with that probability."""


def find_metric_chance(values: Tensor, target: Target, scores: SampleScores) -> Chance | None:
    """Return the chance of a test split in a metric; None if the target is not of kind classes.

    For a metric other than accuracy the bound is that of one answer, the frequencies of the
    classes, and 1.645 standard errors more: those of a model's metric over resampled rows. A
    metric that does not show whether a model has learned something leaves this to accuracy.

    Args:
        values: ``(N,)`` true classes on the CPU.
        target: What they mean.
        scores: A model's scores of the same rows.
    """
    least = find_chance(values, target)
    if least is None or scores.metric == least.metric or not scores.form.shows_learning:
        return least
    form, outputs = scores.form, compute_prior(values, target).repeat(len(values), 1)
    value = form.find_value(Answers.of(outputs, values, target))
    weights = draw_counts(len(values), 0)[: count_draws(scores, RESAMPLES)]
    found = scores.of_weights(weights)
    found = found[~np.isnan(found)]
    if math.isnan(value) or not len(found):
        return least
    spread = float(found.std())
    bound = value + form.sign * ONE_SIDED * spread
    return replace(
        least, metric=form.name, value=value, bound=bound, lower_is_better=form.lower_is_better
    )
