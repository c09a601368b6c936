"""Random answers, and how a metric is held against scikit-learn on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmx.metrics import Answers, Metric, restore_metric
from mmx.metrics.known import describe_metric
from mmx.tasks import Target

CASES = 200
NAMES = tuple("abcdefgh")
Reference = Callable[[Answers], float]


def make_answers(seed: int, kind: str, *, classes: int | None = None) -> Answers:
    """Return random answers; every class occurs, and every third case has tied scores."""
    random = np.random.default_rng(seed)
    rows = int(random.integers(12, 60))
    if kind == "regression":
        target = Target("regression", mean=float(random.normal()), std=2.5)
        truth = torch.from_numpy(random.normal(size=rows) + 0.01)
        outputs = torch.from_numpy((truth.numpy() + random.normal(size=rows)).astype(np.float32))
        if seed % 3 == 0:
            truth, outputs = truth.mul(2).round().add(0.5), outputs.round()
        return Answers.of(outputs[:, None], truth, target)
    fewest = 1 if kind == "multilabel" else 2
    count = classes or int(random.integers(fewest, 7))
    outputs = random.normal(size=(rows, count))
    if kind == "classes":
        truth = np.r_[np.arange(count), random.integers(0, count, rows - count)]
        outputs[np.arange(rows), truth] += random.uniform(0, 2)
    else:
        truth = np.r_[np.ones((1, count)), np.zeros((1, count))]
        truth = np.r_[truth, random.integers(0, 2, (rows - 2, count))].astype(np.float32)
        outputs += random.uniform(0, 2) * truth
    if seed % 3 == 0:
        outputs = outputs.round(1)
    target = Target(kind, NAMES[:count])  # type: ignore[arg-type]
    return Answers.of(torch.from_numpy(outputs.astype(np.float32)), torch.from_numpy(truth), target)


def draw(answers: Answers, metric: Metric, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each row is drawn in a few resamples for which the metric is defined."""
    random = np.random.default_rng(seed)
    rows = len(answers.truth)
    for _ in range(20):
        weights = np.bincount(random.integers(0, rows, rows), minlength=rows)
        if not metric.explain_undefined(answers.take(np.repeat(np.arange(rows), weights))):
            yield weights


def hold(metric: Metric, kind: str, reference: Reference, *, classes: int | None = None) -> None:
    """Hold a metric against a reference: 200 random cases, and a resample of every tenth.

    The kept rows must give the same value as the answers, weighted or repeated, and a file's
    facts the same metric. A metric that computes resamples itself is a library's function and a
    formula: on all cases the two are held against each other, on every tenth against the reference.
    """
    assert kind in metric.kinds
    assert restore_metric(metric.name, describe_metric(metric)) == metric
    has_formula = type(metric).resample is not Metric.resample
    for seed in range(CASES):
        answers = make_answers(seed, kind, classes=classes)
        assert metric.explain_undefined(answers) == ""
        value = metric.find_value(answers)
        kept, rows = metric.keep(answers), len(answers.truth)
        once = np.ones((1, rows), dtype=np.int64)
        if has_formula:
            assert metric.resample(kept, once) == pytest.approx(value, abs=1e-9)
        if has_formula and seed % 10:
            continue
        wanted = reference(answers)
        assert value == pytest.approx(wanted, abs=1e-12)
        if seed % 10:
            continue
        assert metric.resample(kept, once) == pytest.approx(wanted, abs=1e-9)
        weights = next(draw(answers, metric, seed), None)
        if weights is not None:
            drawn = answers.take(np.repeat(np.arange(rows), weights))
            found = metric.resample(kept, np.stack([weights, once[0]]))
            wanted_of_drawn = reference(drawn)
            assert found[0] == pytest.approx(wanted_of_drawn, abs=1e-9, nan_ok=True)
            assert found[1] == pytest.approx(wanted, abs=1e-9)


def without(answers: Answers, index: int) -> Answers:
    """Return the rows that do not have a class or label."""
    return answers.take(np.flatnonzero(answers.labels[:, index] == 0))


def spoil(answers: Answers) -> Answers:
    """Return answers of which one score is no number."""
    scores = answers.scores.copy()
    scores.flat[0] = np.nan
    return replace(answers, scores=scores)
