"""Spearman's correlation: that of the ranks of answers and truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mmx.metrics.base import Answers, Floats, Metric, explain_constant
from mmx.metrics.pearson import correlate
from mmx.metrics.ranked import in_parts


@dataclass(frozen=True, kw_only=True)
class Spearman(Metric):
    """Spearman's correlation: Pearson's of the ranks. Use it where only the order counts."""

    kinds: ClassVar[frozenset[str]] = frozenset({"regression"})
    span: ClassVar[float] = 2.0
    most_resamples: ClassVar[int] = 4000

    def explain_undefined(self, answers: Answers) -> str:
        """Return why it has no value; see :class:`Metric`."""
        return explain_constant(answers)

    def measure(self, answers: Answers) -> float:
        """Return its value; NaN where all answers are the same."""
        from scipy.stats import spearmanr  # slow to import

        if np.ptp(answers.scores) == 0:
            return float("nan")
        return float(spearmanr(answers.scores, answers.truth).statistic)

    def keep(self, answers: Answers) -> Floats:
        """Return ``(N, 2)``: answers and truth."""
        return np.stack([answers.scores, answers.truth], axis=1).astype(np.float64)

    def resample(
        self, kept: Floats, weights: npt.NDArray[Any], classes: tuple[str, ...] = ()
    ) -> Floats:
        """Return ``(R,)`` values; see :class:`Metric`."""
        return in_parts(_correlate_ranks, kept[:, 0], kept[:, 1], weights)


def _correlate_ranks(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Return the ``(R,)`` correlations of weighted ranks."""
    total = weights.sum(1, keepdims=True)
    # The mean of ranks 1 to n is (n + 1) / 2, with or without ties.
    a, b = (_rank(each, weights) - (total + 1) / 2 for each in (x, y))
    aa, bb, ab = ((weights * one * two).sum(1) for one, two in ((a, a), (b, b), (a, b)))
    return correlate(aa, bb, ab, total[:, 0])


def _rank(numbers: Floats, weights: Floats) -> Floats:
    """Return ``(R, N)``: the mean rank of each row among the rows that occur, ties shared."""
    distinct, places = np.unique(numbers, return_inverse=True)
    order = np.argsort(places, kind="stable")
    starts = np.searchsorted(places[order], np.arange(len(distinct)))
    counts = np.add.reduceat(weights[:, order], starts, axis=1)
    # A group of c equal numbers after b smaller ones has ranks b + 1 … b + c, of mean b + (c + 1) /
    # 2.
    middle = np.cumsum(counts, axis=1) - counts + (counts + 1) / 2
    found: Floats = middle[:, places]  # from distinct numbers back to rows: (R, G) → (R, N)
    return found
