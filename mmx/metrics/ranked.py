"""Metrics that depend on the order of scores, on all resamples at once.

Shape legend: ``N`` rows, ``M`` columns of scores, ``R`` resamples, ``G`` distinct scores.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from mmx.metrics.base import (
    LABELLED,
    NUMBERS_AT_ONCE,
    Answers,
    Floats,
    Integers,
    Metric,
    name_absent,
)


@dataclass(frozen=True, kw_only=True)
class RankedMetric(Metric):
    """A metric of how scores order the rows of each class or label, averaged over these.

    A class has its rows against all others. Of two classes, the second alone counts.

    Args:
        average: ``macro``: the mean over classes or labels; ``weighted``: weighted by their rows;
            ``micro``: of all cells of rows and classes as if they were rows of one.

    Attributes:
        needs_others: Whether it needs rows without the class or label, too.
    """

    average: Literal["macro", "micro", "weighted"] = "macro"

    kinds: ClassVar[frozenset[str]] = LABELLED
    span: ClassVar[float] = 1.0
    needs_others: ClassVar[bool] = True
    most_resamples: ClassVar[int] = 4000

    @property
    def name(self) -> str:
        """Its name, with the average if it is not macro."""
        return super().name if self.average == "macro" else f"{super().name}_{self.average}"

    def keep(self, answers: Answers) -> Floats:
        """Return ``(N, 2 M)``: scores, and 1 where the row has the class or label."""
        scores, labels = read_columns(answers)
        return np.concatenate([scores, labels], axis=1).astype(np.float64)

    def resample(
        self, kept: Floats, weights: npt.NDArray[Any], classes: tuple[str, ...] = ()
    ) -> Floats:
        """Return ``(R,)`` values; see :class:`Metric`.

        A class without rows in a resample is left out of its mean; NaN where none is left, and
        where a class has no row at all, so that no resample can have the whole metric.
        """
        scores, labels = np.split(kept, 2, axis=1)
        counts = labels.sum(0)
        if (counts == 0).any() or (self.needs_others and (counts == len(labels)).any()):
            return np.full(len(weights), np.nan)
        if self.average == "micro":
            # Every pair of row and class is a row of its own: (N, M) → (N M, 1), weights alike.
            weights = np.repeat(weights, scores.shape[1], axis=1)
            scores, labels = scores.reshape(-1, 1), labels.reshape(-1, 1)
        each = np.stack(
            [
                in_parts(self.of_column, scores[:, place], labels[:, place], weights)
                for place in range(scores.shape[1])
            ]
        )  # (M, R)
        shares = np.ones_like(each)
        if self.average == "weighted":
            # Rows of each class in each resample: (M, N) @ (N, R).
            shares = labels.T @ weights.T.astype(np.float64)
        there = ~np.isnan(each)
        total = (shares * there).sum(0)
        # Classes without a row in a resample have no value, and are left out of its mean.
        found = (shares * np.where(there, each, 0.0)).sum(0)
        mean: Floats = np.divide(found, total, out=np.full_like(found, np.nan), where=total > 0)
        return mean

    @abstractmethod
    def of_column(self, scores: Floats, labels: Floats, weights: Floats) -> Floats:
        """Return the ``(R,)`` values of one class or label.

        Args:
            scores: ``(N,)``.
            labels: ``(N,)`` 0 and 1.
            weights: ``(R, N)``.
        """

    def explain_undefined(self, answers: Answers) -> str:
        """Return why it has no value; see :class:`Metric`."""
        return name_absent(answers, needs_others=self.needs_others)


def read_columns(answers: Answers) -> tuple[Floats, Integers]:
    """Return ``(N, M)`` scores and labels; of two classes the second alone."""
    # As scikit-learn has it: of two classes the second is the positive one.
    first = 1 if answers.kind == "classes" and len(answers.classes) == 2 else 0
    return answers.scores[:, first:], answers.labels[:, first:]


def in_parts(
    of: Callable[[Floats, Floats, Floats], Floats],
    scores: Floats,
    labels: Floats,
    weights: npt.NDArray[Any],
) -> Floats:
    """Return values of some resamples after the other, so that memory is bounded."""
    step = max(1, NUMBERS_AT_ONCE // max(1, len(scores)))
    parts = [
        of(scores, labels, weights[start : start + step].astype(np.float64))
        for start in range(0, len(weights), step)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def sum_by_score(scores: Floats, *weights: Floats) -> list[Floats]:
    """Return ``(R, G)`` sums of ``(R, N)`` weights over equal scores, from the smallest up."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    # True where a new score starts
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    return [np.add.reduceat(each[:, order], starts, axis=1) for each in weights]
