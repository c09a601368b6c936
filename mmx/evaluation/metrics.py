"""Metrics of each kind of target, as scikit-learn defines them.

Shape legend: ``N`` rows, ``C`` outputs.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mmx.metrics import USUAL, Answers, Metric
from mmx.tasks import Target

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
TaskLoss = Callable[[Tensor, Tensor], Tensor]
"""(outputs ``(N, C)``, targets) -> scalar, a mean over the rows."""

RETRIEVAL = "retrieval"
"""The kind of a label-free objective: rows of one modality retrieve those of another."""
PRIMARY = {**{kind: each.name for kind, each in USUAL.items()}, RETRIEVAL: "recall@1"}
"""The metric in which a gain is stated, unless ``metric=`` chooses another."""


def find_primary(kind: str, chosen: Metric | None = None) -> str:
    """Return the name of the metric that selects and in which a gain is stated."""
    return PRIMARY[kind] if chosen is None else chosen.name


@dataclass(frozen=True)
class SelectionScore:
    """What selection on validation maximises, as a function of a split's metrics.

    It is the primary metric, negated where lower is better; of equal metrics the one with the
    lower loss is better.

    Attributes:
        name: The primary metric.
        lower_is_better: Whether a smaller value of it is better.
    """

    name: str
    lower_is_better: bool = False

    def __call__(self, metrics: dict[str, float]) -> tuple[float, ...]:
        """Return the score."""
        first = metrics[self.name]
        if math.isnan(first):  # r2 of one row, or a correlation with one and the same answer
            # Worse than every number, so that it is never chosen where another is defined.
            first = sys.float_info.max if self.lower_is_better else -sys.float_info.max
        return (-first if self.lower_is_better else first, -metrics["loss"])


def make_score(kind: str, chosen: Metric | None = None) -> SelectionScore:
    """Return the score that selection on validation maximises.

    Args:
        kind: Of the target, or ``RETRIEVAL``.
        chosen: The metric that ``metric=`` chooses; None: the usual one of the kind.
    """
    return SelectionScore(find_primary(kind, chosen), chosen is not None and chosen.lower_is_better)


def measure(
    outputs: Tensor,
    values: Tensor,
    target: Target,
    loss_of: TaskLoss,
    chosen: Metric | None = None,
) -> dict[str, float]:
    """Return the metrics of a split.

    Args:
        outputs: ``(N, C)`` float32 on the CPU.
        values: ``(N,)`` or ``(N, C)`` targets on the CPU; numbers are in the task's own unit.
        target: What the values mean.
        loss_of: The part of the training objective that depends only on outputs.
        chosen: A metric to measure as well; NaN where it is undefined.

    Returns:
        ``loss`` (the objective, as in training) and, for classes, ``accuracy`` and
        ``f1_macro``; for several labels the same, where accuracy is that of whole label sets;
        for regression ``mse``, ``mae`` and ``r2`` in the task's own unit, in float64.
    """
    found = _measure_usual(outputs, values, target, loss_of)
    if chosen is not None and chosen.name not in found:
        found[chosen.name] = chosen.find_value(Answers.of(outputs, values, target))
    return found


def _measure_usual(
    outputs: Tensor, values: Tensor, target: Target, loss_of: TaskLoss
) -> dict[str, float]:
    """Return the loss and the metrics that every run of a kind of target has."""
    found = {"loss": float(loss_of(outputs, target.standardize(values)))}
    if target.kind == "classes":
        decided, truth = decide(outputs, target).numpy(), values.numpy().astype(np.int64)
        found["accuracy"] = float(np.mean(truth == decided))
        return {**found, "f1_macro": measure_f1(truth, decided)}
    from sklearn import metrics as sk  # slow to import

    if target.kind == "regression":
        predicted, truth = target.restore(outputs).numpy(), values.double().numpy()
        if not np.isfinite(predicted).all():  # scikit-learn would raise
            return {**found, "mse": math.nan, "mae": math.nan, "r2": math.nan}
        found["mse"] = float(sk.mean_squared_error(truth, predicted))
        found["mae"] = float(sk.mean_absolute_error(truth, predicted))
        found["r2"] = float(sk.r2_score(truth, predicted)) if len(truth) > 1 else math.nan
        return found
    decided, truth = decide(outputs, target).numpy(), values.numpy().astype(np.int64)
    found["accuracy"] = float(sk.accuracy_score(truth, decided))
    found["f1_macro"] = measure_f1_of_labels(truth, decided)
    return found


def measure_f1(truth: IntArray, decided: IntArray) -> float:
    """Return the mean F1 of the classes that occur or are predicted.

    It is scikit-learn's ``f1_score(average="macro")``, whose import would take most of the time
    of a short run.

    Args:
        truth: ``(N,)`` classes.
        decided: ``(N,)`` predicted classes.
    """
    count = 1 + max(truth.max(), decided.max())
    right = np.bincount(truth[truth == decided], minlength=count)
    named = np.bincount(truth, minlength=count) + np.bincount(decided, minlength=count)
    there = named > 0
    return float(np.mean(2.0 * right[there] / named[there]))


def measure_f1_of_labels(truth: IntArray, decided: IntArray) -> float:
    """Return the mean F1 of the labels, 0 for one that is neither true nor predicted.

    It is scikit-learn's ``f1_score(average="macro")``, which takes a single label for two classes.

    Args:
        truth: ``(N, C)`` 0 and 1.
        decided: ``(N, C)`` predicted labels.
    """
    hits, named = (truth * decided).sum(0), truth.sum(0) + decided.sum(0)
    return float(np.mean(np.divide(2.0 * hits, named, out=np.zeros(len(hits)), where=named > 0)))


def decide(outputs: Tensor, target: Target) -> Tensor:
    """Return ``(N,)`` class indices, ``(N, C)`` 0 or 1, or ``(N,)`` numbers in float64."""
    if target.kind == "classes":
        return outputs.argmax(1)
    if target.kind == "multilabel":
        return (outputs > 0).long()
    return target.restore(outputs)


def mark_correct(outputs: Tensor, values: Tensor) -> FloatArray:
    """Return ``(N,)``: 1 where the predicted class is the true one."""
    return (outputs.argmax(1) == values).double().numpy()
