"""A model's recall and precision on each class, for data with class imbalance.

Shape legend: ``N`` rows, ``C`` classes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from mmx.evaluation.metrics import FloatArray, IntArray, decide, measure_f1
from mmx.tasks import Target


def report_classes(outputs: Tensor, values: Tensor, target: Target) -> dict[str, Any]:
    """Return a report on the classes, which accuracy alone hides; it is JSON-able.

    Args:
        outputs: ``(N, C)`` on the CPU.
        values: ``(N,)`` classes or ``(N, C)`` labels on the CPU.
        target: What the values mean.

    Returns:
        ``balanced_accuracy``: the mean recall of the classes that occur; for labels, the mean
        over the labels of the mean recall of their yes and no, if they occur.
        ``f1_macro``: as in :func:`~mmx.evaluation.metrics.measure`.
        ``classes``: name to ``recall``, ``precision`` and ``support``; recall is None for a
        class that does not occur, precision for one that is never predicted.
        ``confusion``: ``[true][predicted]`` counts, ``(C, C)``; for labels one table of no and
        yes for each label, ``(C, 2, 2)``.

    Raises:
        ValueError: The target is of kind regression.
    """
    if target.kind == "regression":
        raise ValueError("a report on classes needs classes or labels, not regression")
    decided, truth = decide(outputs, target).numpy(), values.numpy().astype(np.int64)
    count = target.outputs
    if target.kind == "classes":
        pairs = np.bincount(truth * count + decided, minlength=count**2)
        confusion = pairs.reshape(count, count)  # (C, C)
        right, support, named = np.diag(confusion), confusion.sum(1), confusion.sum(0)
        balanced, f1_macro = _mean(_divide(right, support)), measure_f1(truth, decided)
    else:
        from sklearn import metrics as sk  # slow to import

        confusion = sk.multilabel_confusion_matrix(truth, decided, labels=np.arange(count))
        right, support, named = (
            confusion[:, 1, 1],
            confusion[:, 1].sum(1),
            confusion[:, :, 1].sum(1),
        )
        balanced = _mean([_mean(_recalls(table)) for table in confusion])
        f1_macro = float(sk.f1_score(truth, decided, average="macro", zero_division=0))
    recall, precision = _divide(right, support), _divide(right, named)
    return {
        "balanced_accuracy": balanced,
        "f1_macro": f1_macro,
        "classes": {
            name: {
                "recall": _drop_nan(recall[index]),
                "precision": _drop_nan(precision[index]),
                "support": int(support[index]),
            }
            for index, name in enumerate(target.classes)
        },
        "confusion": confusion.tolist(),
    }


def _divide(right: IntArray, of: IntArray) -> FloatArray:
    """Return which parts of the rows are right, NaN where there are none."""
    parts: FloatArray = np.divide(right, of, out=np.full(len(of), np.nan), where=of > 0)
    return parts


def _recalls(table: Any) -> list[float]:
    """Return the recall of each true class of a confusion matrix, NaN if it does not occur."""
    return [row[i] / row.sum() if row.sum() else math.nan for i, row in enumerate(table)]


def _mean(numbers: Any) -> float:
    """Return the mean of the numbers that are not NaN."""
    known = [float(number) for number in numbers if not math.isnan(number)]
    return math.fsum(known) / len(known)


def _drop_nan(number: float) -> float | None:
    return None if math.isnan(number) else float(number)
