"""What each input contributes: Shapley values of a metric with intervals, and of single answers.

Shape legend: ``N`` rows, ``C`` outputs, ``M`` inputs, ``V`` subsets, ``R`` resamples, ``S`` runs.

An input that is absent is treated as the model treats a missing one. With more than eight inputs
the values are estimated from some orders of the inputs; see :mod:`mmx.evaluation.subsets`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mmx.errors import DataError
from mmx.evaluation.gain_intervals import LEVEL, RESAMPLES, count_draws, draw_counts
from mmx.evaluation.importance import compute_shapley_values
from mmx.evaluation.sample_metric import SampleScores, score_samples
from mmx.evaluation.subsets import ALL_SUBSETS, Subset, SubsetAnswers
from mmx.metrics import Metric
from mmx.metrics.base import Floats
from mmx.tasks import Target
from mmx.training.data import Rows


@dataclass(frozen=True)
class InputShare:
    """What an input contributes to a metric.

    Attributes:
        value: The Shapley value φ.
        low, high: Its 95 % interval; NaN where too many resamples have no metric.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Shares:
    """What all inputs contribute to a metric: Σ φ = full - empty.

    Attributes:
        metric: The metric.
        lower_is_better: Whether a smaller value of it is better.
        values: Input to its share, the largest first.
        empty: The metric without any input, which is that of the prior.
        full: The metric with all inputs.
        rows: ``(N,)`` row numbers.
        exact: Whether all subsets were tried.
        resampled: ``(M, R)`` values over resamples of the rows, in the order of ``values``.
    """

    metric: str
    lower_is_better: bool
    values: dict[str, InputShare]
    empty: float
    full: float
    rows: Rows
    exact: bool
    resampled: Floats


def measure_shares(
    answered: SubsetAnswers, rows: Rows, target: Target, chosen: Metric | None = None
) -> Shares:
    """Return what each input contributes to the metric of a split.

    The intervals are percentiles over resamples of the rows; the model is taken as given.

    Args:
        answered: The model's outputs with all subsets of its inputs.
        rows: ``(N,)`` row numbers.
        target: What is predicted.
        chosen: The metric; None: the usual one of the kind.

    Raises:
        DataError: The metric has no value without any input, as a correlation.
    """
    subsets = list(answered.answers)
    scores = [
        score_samples(answered.answers[each].outputs, answered.values, target, rows, chosen)
        for each in subsets
    ]
    value = np.array([each.value for each in scores])  # (V,)
    names, weights = make_weights(subsets)
    found = weights @ value
    if not np.isfinite(found).all():
        raise DataError(
            f"{scores[0].metric} has no value where the prior answers all rows, so that it cannot "
            "be shared out among the inputs"
        )
    resampled = weights @ _resample(scores)  # (M, R)
    ends = map(find_percentiles, resampled)
    shares = [InputShare(float(phi), *each) for phi, each in zip(found, ends, strict=True)]
    order = np.argsort(-scores[0].form.sign * found, kind="stable")
    empty, full = float(value[0]), float(value[int(np.argmax([len(each) for each in subsets]))])
    return Shares(
        metric=scores[0].metric,
        lower_is_better=scores[0].form.lower_is_better,
        values={names[place]: shares[place] for place in order},
        empty=empty,
        full=full,
        rows=rows,
        exact=len(names) <= ALL_SUBSETS,
        resampled=resampled[order],
    )


def make_weights(subsets: Sequence[Subset]) -> tuple[tuple[str, ...], Floats]:
    """Return the inputs, and the ``(M, V)`` weights of the values of subsets in Shapley values.

    A Shapley value is a linear function of the values of all subsets; the weight of a subset is
    the Shapley value where it alone has the value 1.
    """
    names = max(subsets, key=len)
    weights = np.zeros((len(names), len(subsets)))
    for place, subset in enumerate(subsets):
        alone = {each: float(each == subset) for each in subsets}
        found = compute_shapley_values(alone)
        weights[:, place] = [found[name] for name in names]
    return names, weights


def _resample(scores: Sequence[SampleScores]) -> Floats:
    """Return the ``(V, R)`` metrics of the same resamples of the rows, for each subset."""
    draws = count_draws(scores[0], RESAMPLES)
    counts = draw_counts(len(scores[0].statistics), 0)[:draws]
    return np.stack([each.of_weights(counts) for each in scores])


def find_percentiles(values: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of resamples; NaN where half of them have no value."""
    there = values[np.isfinite(values)]
    if 2 * len(there) <= len(values):
        return math.nan, math.nan
    low, high = np.quantile(there, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def pool_shares(runs: Sequence[Shares]) -> Shares:
    """Return the mean shares of runs that differ in their seed, with intervals over both.

        φ̄ ± √((t s / √S)² + (z σ)²)

    s is the standard deviation over the S runs, t the quantile of Student's t, σ the standard
    deviation of the mean over resamples of the rows, the same resample for all runs. Where runs
    were measured on different rows, s has the variation by rows in it, and σ is 0. A part of the
    variation by rows is in both, so that the interval is rather too wide than too narrow.

    Args:
        runs: Of the same inputs and metric.
    """
    from scipy.stats import norm, t

    first, count = runs[0], len(runs)
    if count == 1:
        return first
    names = list(first.values)
    values = np.array([[each.values[name].value for name in names] for each in runs])  # (S, M)
    spread = values.std(0, ddof=1) * t.ppf((1 + LEVEL) / 2, count - 1) / math.sqrt(count)
    resampled = np.mean([_order(each, names) for each in runs], axis=0)  # (M, R)
    same_rows = all(np.array_equal(each.rows, first.rows) for each in runs)
    over_rows = norm.ppf((1 + LEVEL) / 2) * np.nanstd(resampled, axis=1) * same_rows
    reach, middle = np.hypot(spread, over_rows), values.mean(0)
    sign = -1 if first.lower_is_better else 1
    order = np.argsort(-sign * middle, kind="stable")
    return Shares(
        metric=first.metric,
        lower_is_better=first.lower_is_better,
        values={
            names[place]: InputShare(
                float(middle[place]),
                float(middle[place] - reach[place]),
                float(middle[place] + reach[place]),
            )
            for place in order
        },
        empty=float(np.mean([each.empty for each in runs])),
        full=float(np.mean([each.full for each in runs])),
        rows=first.rows,
        exact=first.exact,
        resampled=resampled[order],
    )


def _order(shares: Shares, names: Sequence[str]) -> Floats:
    """Return the resamples of shares in the order of names."""
    own = list(shares.values)
    found: Floats = shares.resampled[[own.index(name) for name in names]]
    return found


def measure_row_shares(
    answered: SubsetAnswers, place: int, output: int, target: Target
) -> tuple[dict[str, float], float, float]:
    """Return what each input contributes to the answer for one row.

    The answer is the probability of the explained class or label, or the predicted number.

    Args:
        answered: The model's outputs with all subsets of its inputs.
        place: Place of the row among the answered ones.
        output: Which output is explained.
        target: What is predicted.

    Returns:
        Input to Shapley value, the answer without any input and that with all of them.
    """
    value = {
        subset: find_probability(each.outputs[place], output, target)
        for subset, each in answered.answers.items()
    }
    return compute_shapley_values(value), value[()], value[max(value, key=len)]


def find_probability(outputs: Tensor, output: int, target: Target) -> float:
    """Return the probability that outputs ``(C,)`` state, or the number in the task's own unit."""
    if target.kind == "regression":
        return float(target.restore(outputs[None])[0])
    scores = outputs.double()
    scores = scores.softmax(0) if target.kind == "classes" else scores.sigmoid()
    return float(scores[output])
