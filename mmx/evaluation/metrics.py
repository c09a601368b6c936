"""Metrics of each kind of target, as scikit-learn defines them.

Shape legend: ``N`` rows, ``C`` outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mmx.tasks import Target

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
TaskLoss = Callable[[Tensor, Tensor], Tensor]
"""(outputs ``(N, C)``, targets) -> scalar, a mean over the rows."""

RETRIEVAL = "retrieval"
"""The kind of a label-free objective: rows of one modality retrieve those of another."""
PRIMARY = {
    "classes": "accuracy",
    "multilabel": "f1_macro",
    "regression": "r2",
    RETRIEVAL: "recall@1",
}
"""The metric in which a gain is stated."""


def make_score(kind: str) -> Callable[[dict[str, float]], tuple[float, ...]]:
    """Return the score that selection on validation maximises.

    It is the primary metric; of equal metrics the one with the lower loss is better.
    """
    primary = PRIMARY[kind]

    def score(metrics: dict[str, float]) -> tuple[float, ...]:
        first = metrics[primary]
        return (0.0 if math.isnan(first) else first, -metrics["loss"])  # r2 of one row is NaN

    return score


def measure(outputs: Tensor, values: Tensor, target: Target, loss_of: TaskLoss) -> dict[str, float]:
    """Return the metrics of a split.

    Args:
        outputs: ``(N, C)`` float32 on the CPU.
        values: ``(N,)`` or ``(N, C)`` targets on the CPU; numbers are in the task's own unit.
        target: What the values mean.
        loss_of: The part of the training objective that depends only on outputs.

    Returns:
        ``loss`` (the objective, as in training) and, for classes, ``accuracy`` and
        ``f1_macro``; for several labels the same, where accuracy is that of whole label sets;
        for regression ``mse``, ``mae`` and ``r2`` in the task's own unit, in float64.
    """
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
    found["f1_macro"] = float(sk.f1_score(truth, decided, average="macro", zero_division=0))
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
