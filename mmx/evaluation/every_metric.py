"""All metrics of a kind of target, of some rows, whatever metric was chosen.

Shape legend: ``N`` rows, ``C`` outputs.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mmx.metrics import Answers, Metric, find_built_in
from mmx.tasks import Target

RESAMPLES, FEWEST = 1000, 200
WORK = 100_000_000
"""Resamples times rows at most."""
AT_ONCE = 20_000_000
"""Counts that are drawn at once; it bounds the memory."""
OF_LABELS = ("accuracy", "f1", "auroc", "average_precision")
"""Metrics that are also measured for each of several labels."""


def list_metrics(kind: str, chosen: Metric | None = None) -> dict[str, Metric]:
    """Return the metrics of a kind of target by name, with their usual options.

    Args:
        kind: Of the target.
        chosen: One more.
    """
    usual = [each() for each in find_built_in().values() if kind in each.kinds]
    if kind == "multilabel":
        averaged: list[Any] = [each for each in usual if hasattr(each, "average")]
        usual += [replace(each, average="micro") for each in averaged]
    return {each.name: each for each in (*usual, *([chosen] if chosen else ()))}


def measure_every(
    outputs: Tensor, values: Tensor, target: Target, chosen: Metric | None = None
) -> dict[str, float | None]:
    """Return all metrics of some rows; None where one is undefined.

    Args:
        outputs: ``(N, C)`` on the CPU.
        values: ``(N,)`` or ``(N, C)`` targets on the CPU; numbers are in the task's own unit.
        target: What the values mean.
        chosen: A metric to measure as well.
    """
    answers = Answers.of(outputs, values, target)
    return {
        name: _drop_nan(metric.find_value(answers))
        for name, metric in sorted(list_metrics(target.kind, chosen).items())
    }


def measure_labels(
    outputs: Tensor, values: Tensor, target: Target
) -> dict[str, dict[str, float | None]]:
    """Return label to the metrics of that label alone, with its number of rows; empty without.

    Precision is None for a label that is never predicted, and recall for one that no row has.

    Args:
        outputs: ``(N, C)`` on the CPU.
        values: ``(N, C)`` labels on the CPU.
        target: What they mean.
    """
    if target.kind != "multilabel":
        return {}
    answers, metrics = Answers.of(outputs, values, target), list_metrics("multilabel")
    found: dict[str, dict[str, float | None]] = {}
    for place, name in enumerate(target.classes):
        own = slice(place, place + 1)
        parts = answers.truth[:, own], answers.scores[:, own], answers.decided[:, own]
        alone = Answers("multilabel", *parts, (name,))
        of_label = {
            each.name.removesuffix("_macro"): _drop_nan(each.find_value(alone))
            for each in metrics.values()
            if each.name.removesuffix("_macro") in OF_LABELS
        }
        found[name] = {
            "support": int(alone.truth.sum()),
            **_find_precision_recall(alone.truth, alone.decided),
            **of_label,
        }
    return found


def _find_precision_recall(
    truth: npt.NDArray[Any], decided: npt.NDArray[Any]
) -> dict[str, float | None]:
    """Return precision and recall of one label, None where their denominator is 0.

    Args:
        truth: ``(N, 1)`` 0 and 1.
        decided: ``(N, 1)`` what the model decides.
    """
    hits = int((truth * decided).sum())
    of = {"precision": int(decided.sum()), "recall": int(truth.sum())}
    return {name: hits / count if count else None for name, count in of.items()}


def find_intervals(
    outputs: Tensor, values: Tensor, target: Target, chosen: Metric | None = None, seed: int = 0
) -> dict[str, list[float] | None]:
    """Return the 95 % percentile interval of each metric, over the choice of rows.

    None where a metric is undefined in more than half of the resamples.

    Args:
        outputs: ``(N, C)`` on the CPU.
        values: ``(N,)`` or ``(N, C)`` targets on the CPU; numbers are in the task's own unit.
        target: What the values mean.
        chosen: A metric to measure as well.
        seed: Of the resampling.

    Reference: Efron 1979, percentile bootstrap.
    """
    answers, rows = Answers.of(outputs, values, target), len(values)
    every = sorted(list_metrics(target.kind, chosen).items())
    metrics = [(name, metric) for name, metric in every if not metric.explain_undefined(answers)]
    kept = {name: metric.keep(answers) for name, metric in metrics}
    drawn: dict[str, list[Any]] = {name: [] for name, _ in metrics}
    generator = np.random.default_rng(seed)
    left = max(FEWEST, min(RESAMPLES, WORK // max(1, rows)))
    while left:
        some = min(left, max(1, AT_ONCE // rows))
        left -= some
        weights = np.stack(
            [np.bincount(generator.integers(0, rows, rows), minlength=rows) for _ in range(some)]
        )
        for name, metric in metrics:
            drawn[name].append(metric.resample(kept[name], weights, target.classes))
    found = {name: _percentiles(np.concatenate(parts)) for name, parts in drawn.items()}
    return {name: found.get(name) for name, _ in every}


def _percentiles(found: Any) -> list[float] | None:
    known = found[np.isfinite(found)]
    if 2 * len(known) <= len(found):
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return [float(low), float(high)]


def _drop_nan(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
