"""Which rows of a split are explained: the most confident errors, and a few right answers.

Shape legend: ``N`` rows, ``C`` outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mmx.tasks import Target
from mmx.training.data import Rows

ERRORS = 10
RIGHT = 3


@dataclass(frozen=True)
class ChosenRow:
    """A row that is explained.

    Attributes:
        row: Its number in the task, from 0.
        place: Its place among the rows of the split.
        output: Which output is explained.
        right: Whether it is answered rightly; None for a number, which is near or far.
        confidence: The probability of what is answered, or how far off a number is.
    """

    row: int
    place: int
    output: int
    right: bool | None
    confidence: float


def judge_rows(outputs: Tensor, values: Tensor, target: Target, rows: Rows) -> list[ChosenRow]:
    """Return every row as it would be explained.

    Of classes the explained output is the predicted class, and the confidence its probability.
    Of several labels it is the label that is most confidently wrong, or, where all are right, the
    most probable one. A number has one output; its confidence is the absolute error.

    Args:
        outputs: ``(N, C)`` on the CPU.
        values: ``(N,)`` or ``(N, C)``, in the task's own unit.
        target: What they mean.
        rows: ``(N,)`` row numbers.
    """
    if target.kind == "regression":
        off = np.abs(target.restore(outputs).numpy() - values.double().numpy())
        return [
            ChosenRow(int(row), place, 0, None, float(each))
            for place, (row, each) in enumerate(zip(rows, off, strict=True))
        ]
    if target.kind == "classes":
        scores = outputs.double().softmax(1).numpy()
        answer = outputs.argmax(1).numpy()
        sure = scores[np.arange(len(rows)), answer]
        right = answer == values.numpy()
    else:
        scores = outputs.double().sigmoid().numpy()
        wrong = (outputs > 0).numpy() != (values > 0.5).numpy()
        right = ~wrong.any(1)
        certain = np.maximum(scores, 1 - scores)
        answer = np.where(right, scores.argmax(1), np.where(wrong, certain, -1.0).argmax(1))
        sure = certain[np.arange(len(rows)), answer]
    return [
        ChosenRow(int(row), place, int(answer[place]), bool(right[place]), float(sure[place]))
        for place, row in enumerate(rows)
    ]


def choose_rows(
    judged: list[ChosenRow], *, errors: int = ERRORS, right: int = RIGHT
) -> list[ChosenRow]:
    """Return the most confident errors, then the most confident right answers of several classes.

    Of numbers these are the rows that are farthest off, and those that are nearest.
    """
    if judged and judged[0].right is None:
        order = _sort([-each.confidence for each in judged])
        far = [judged[place] for place in order[:errors]]
        near = [judged[place] for place in order[::-1][:right] if judged[place] not in far]
        return [*far, *near]
    by_confidence = [judged[place] for place in _sort([-each.confidence for each in judged])]
    wrong = [each for each in by_confidence if not each.right][:errors]
    first: dict[int, ChosenRow] = {}
    for each in by_confidence:
        if each.right:
            first.setdefault(each.output, each)
    return [*wrong, *list(first.values())[:right]]


def _sort(keys: list[float]) -> npt.NDArray[np.int64]:
    """Return the order of keys, ascending; equal ones stay as they are."""
    order: npt.NDArray[np.int64] = np.argsort(np.array(keys), kind="stable")
    return order
