"""The expected calibration error: how far confidence is from accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from mmx.metrics.base import LABELLED, Answers, Floats, Integers, SumMetric


@dataclass(frozen=True, kw_only=True)
class Ece(SumMetric):
    """The expected calibration error: how far confidence is from accuracy, over bins of confidence.

        Σ_b |Σ_{i in b} (confidence_i - right_i)| / N

    Of classes, the confidence is the largest probability. Of labels, each probability counts,
    against whether the row has the label. It says how probabilities are to be read, not how good
    the answers are.

    Args:
        bins: B; bin b holds confidences in (b / B, (b + 1) / B].

    Reference: Naeini et al. 2015, Obtaining well calibrated probabilities using Bayesian binning;
    Guo et al. 2017 (arXiv:1706.04599), with 15 bins.
    """

    bins: Annotated[int, Field(ge=1, le=1000)] = 15

    kinds: ClassVar[frozenset[str]] = LABELLED
    lower_is_better: ClassVar[bool] = True
    shows_learning: ClassVar[bool] = False
    span: ClassVar[float] = 1.0

    @property
    def name(self) -> str:
        """Its name, with the number of bins if it is not 15."""
        return "ece" if self.bins == 15 else f"ece_{self.bins}"

    def measure(self, answers: Answers) -> float:
        """Return its value."""
        return float(self.of_sums(self.keep(answers).sum(0), len(answers.truth)))

    def keep(self, answers: Answers) -> Floats:
        """Return ``(N, B)``: confidence less 1 if right, in the bin of the confidence."""
        confidences, right = read_confidences(answers)
        labels = confidences.shape[1]
        places = place_in_bins(confidences, self.bins)
        found = np.zeros((len(confidences), self.bins))
        rows = np.arange(len(confidences))
        for column in range(labels):
            over = (confidences[:, column] - right[:, column]) / labels
            # Column by column: += counts a place once, and in a column each row has one place.
            found[rows, places[:, column]] += over
        return found

    def of_sums(self, sums: Floats, count: int) -> Floats:
        """Return the metric of sums over rows."""
        # |Σ_bin (confidence - right)| / N, the bin's weight times its gap
        found: Floats = np.abs(sums).sum(-1) / count
        return found


def read_confidences(answers: Answers) -> tuple[Floats, Integers]:
    """Return ``(N, 1)`` confidences and whether they are right; of labels ``(N, C)``."""
    if answers.kind == "classes":
        right = answers.decided == answers.truth
        return answers.scores.max(1, keepdims=True), right.astype(np.int64)[:, None]
    return answers.scores, answers.truth.astype(np.int64)


def place_in_bins(confidences: Floats, bins: int) -> Integers:
    """Return the bin of each confidence, from 0; the upper end belongs to a bin."""
    # Bins are (low, high], hence ceil; a confidence of 0 would give -1 and belongs to the first.
    return np.clip(np.ceil(confidences * bins).astype(np.int64) - 1, 0, bins - 1)
