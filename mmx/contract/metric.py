"""The contract of a metric, as checks; see :mod:`mmx.metrics`.

Shape legend: ``N`` rows, ``C`` classes or labels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from mmx.contract.base import BASICS, MADE, REPEATED, Broken, Check, Part, Subject
from mmx.contract.options import has_sound_options
from mmx.metrics import Answers, Metric
from mmx.metrics.base import KINDS
from mmx.tasks import Target
from mmx.tasks.contents import Kind

ROWS, CLASSES = 60, 6
CLOSE = 1e-9


@dataclass(frozen=True)
class MetricSubject(Subject):
    """A metric and the answers that it is tried on.

    Attributes:
        part: The class and its options.
        metric: An instance.
    """

    part: Part
    metric: Metric

    @classmethod
    def of(cls, part: Part) -> MetricSubject:
        """Return a part as the subject of the checks."""
        return cls(part, part.make())

    def try_part(self, part: Part) -> None:
        """Make the class with other options, and measure with it."""
        metric: Metric = part.make()
        for answers in list_answers(metric):
            if not math.isfinite(metric.find_value(answers)) and not metric.explain_undefined(
                answers
            ):
                raise Broken(f"no finite value for {answers.kind}")


def make_answers(kind: Kind, error: float = 1.0) -> Answers:
    """Return made-up answers; with an error of 0 they are right and certain."""
    random = np.random.default_rng(0)
    if kind == "regression":
        truth = random.normal(3.0, 1.0, ROWS)
        outputs = torch.from_numpy(truth + error * random.normal(size=ROWS))[:, None]
        return Answers.of(outputs, torch.from_numpy(truth), Target("regression"))
    names = tuple(f"class {place}" for place in range(CLASSES))
    labels = np.eye(CLASSES, dtype=np.int64)[np.arange(ROWS) % CLASSES]
    noise = error * random.normal(size=(ROWS, CLASSES))
    certain = torch.from_numpy((1 + 50 * (error == 0)) * (2 * labels - 1) + 2 * noise)
    values = torch.from_numpy(labels if kind == "multilabel" else labels.argmax(1))
    return Answers.of(
        certain, values.float() if kind == "multilabel" else values, Target(kind, names)
    )


def list_answers(metric: Metric) -> Iterator[Answers]:
    """Yield made-up answers of each kind that a metric is for."""
    for kind in KINDS:
        if kind in metric.kinds:
            yield make_answers(kind)


def measures_answers(subject: MetricSubject) -> str:
    """Check that it states the kinds it is for, and gives one finite number for each."""
    metric = subject.metric
    if not metric.kinds or not set(metric.kinds) <= set(KINDS):
        raise Broken(f"expected `kinds` to be some of {', '.join(KINDS)}; seen {metric.kinds!r}")
    found = {}
    for answers in list_answers(metric):
        if why := metric.explain_undefined(answers):
            raise Broken(f"expected a value for answers of kind {answers.kind}; seen {why!r}")
        value = metric.measure(answers)
        if not isinstance(value, float) or not math.isfinite(value):
            raise Broken(f"expected one finite float for {answers.kind}; seen {value!r}")
        found[answers.kind] = value
    return ", ".join(f"{kind} {value:.4g}" for kind, value in found.items())


def measures_the_same_twice(subject: MetricSubject) -> str:
    """Check that the same answers have the same value, and stay as they are."""
    for answers in list_answers(subject.metric):
        before = answers.scores.copy(), answers.truth.copy(), answers.decided.copy()
        values = [subject.metric.measure(answers) for _ in range(2)]
        if values[0] != values[1]:
            raise Broken(f"expected the same value again; seen {values[0]!r}, then {values[1]!r}")
        after = answers.scores, answers.truth, answers.decided
        if not all(np.array_equal(one, two) for one, two in zip(before, after, strict=True)):
            raise Broken("expected the answers to stay as they are; they were changed in place")
    return "the same value again"


def measures_rows_in_any_order(subject: MetricSubject) -> str:
    """Check that the order of the rows does not count."""
    for answers in list_answers(subject.metric):
        turned = answers.take(np.arange(ROWS)[::-1])
        one, two = subject.metric.measure(answers), subject.metric.measure(turned)
        if abs(one - two) > CLOSE * max(1.0, abs(one)):
            raise Broken(f"expected any order of rows to give {one!r}; seen {two!r}")
    return "rows in any order"


def knows_which_side_is_better(subject: MetricSubject) -> str:
    """Check that right and certain answers are no worse than wrong ones, as it states."""
    metric = subject.metric
    side = "lower" if metric.lower_is_better else "higher"
    for answers in list_answers(metric):
        best, worse = metric.measure(make_answers(answers.kind, 0.0)), metric.measure(answers)
        if metric.sign * (best - worse) < 0:
            raise Broken(
                f"expected right answers to be better where {side} is better; seen {best:.4g} for "
                f"them, {worse:.4g} for others: set `lower_is_better`"
            )
    return f"{side} is better"


def resamples_as_it_measures(subject: MetricSubject) -> str:
    """Check that what it keeps of the rows gives the value of repeated rows."""
    metric, random = subject.metric, np.random.default_rng(1)
    for answers in list_answers(metric):
        drawn = [np.arange(ROWS), *(np.sort(random.integers(0, ROWS, ROWS)) for _ in range(3))]
        weights = np.stack([np.bincount(rows, minlength=ROWS) for rows in drawn])
        found = metric.resample(metric.keep(answers), weights, answers.classes)
        wanted = [metric.find_value(answers.take(rows)) for rows in drawn]
        if not np.allclose(found, wanted, rtol=1e-6, atol=CLOSE, equal_nan=True):
            raise Broken(
                f"expected the values of repeated rows, {np.round(wanted, 6).tolist()}; seen "
                f"{np.round(found, 6).tolist()}"
            )
    return "as repeated rows"


def says_where_it_is_undefined(subject: MetricSubject) -> str:
    """Check that rows of one class, one number, or one row do not raise."""
    for answers in list_answers(subject.metric):
        alike = np.flatnonzero((answers.truth == answers.truth[0]).reshape(ROWS, -1).all(1))
        for rows in (alike, alike[:1], alike[:0]):
            value = subject.metric.find_value(answers.take(rows))
            if not isinstance(value, float):
                raise Broken(f"expected a float or NaN for rows that are alike; seen {value!r}")
    return "no exception for rows that are alike"


def has_a_name(subject: MetricSubject) -> str:
    """Check that its name can stand in files and tables, and its options are hashable facts."""
    name = subject.metric.name
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_@]*", name):
        raise Broken(f"expected a name of small letters, digits and _; seen {name!r}")
    if subject.metric != subject.part.make():
        raise Broken("expected two metrics with the same options to be equal: make it a dataclass")
    return name


CHECKS = (
    Check(MADE, measures_answers),
    Check(REPEATED, measures_the_same_twice, (MADE,)),
    Check("order of rows", measures_rows_in_any_order, BASICS),
    Check("which side is better", knows_which_side_is_better, BASICS),
    Check("resampled", resamples_as_it_measures, BASICS),
    Check("undefined", says_where_it_is_undefined, BASICS),
    Check("name", has_a_name),
    Check("options", has_sound_options),
)
