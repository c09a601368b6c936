"""One line of a comparison of many runs: a group's means, and how it differs from the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmx.evaluation.folds import average_parts, find_half_width_of_folds
from mmx.metrics import Floats, find_bounds
from mmx.reports.run_groups import RunGroup
from mmx.runs.mean_cells import FEWEST

LEVEL = 0.95
"""Of all intervals of the comparison."""


@dataclass(frozen=True)
class GroupMean:
    """A mean over seeds or folds.

    Attributes:
        value: The mean.
        half_width: Half of its interval; None of one value.
        values: ``(n,)`` one for each seed, or for each fold and repeat.
    """

    value: float
    half_width: float | None
    values: Floats

    @classmethod
    def of(cls, group: RunGroup, values: Sequence[float]) -> GroupMean:
        """Return the mean of one value for each run of a group, with Student's t interval.

        Over folds, the variance is corrected for the training rows that they share.
        """
        found = np.array(values, dtype=np.float64)
        if group.folds:
            found = average_parts(found, [run.draw.part for run in group.runs])
        half = None
        if len(found) > 1 and group.folds:
            half = find_half_width_of_folds(found, group.folds, LEVEL)
        elif len(found) > 1:
            half = _find_half_width_over_seeds(found)
        return cls(float(found.mean()), half, found)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where its interval begins and ends; None of too few values to show one."""
        if self.half_width is None or len(self.values) < FEWEST:
            return None
        return self.value - self.half_width, self.value + self.half_width

    def clip(self, bounds: tuple[float, float]) -> tuple[float, float] | None:
        """Return its interval within bounds: a metric has no values outside its own."""
        if self.interval is None:
            return None
        low, high = self.interval
        return max(low, bounds[0]), min(high, bounds[1])


def describe_cut(means: Sequence[GroupMean], metric: str) -> str:
    """Return a sentence, after a space, if an interval is cut where a metric ends; else ""."""
    bounds = find_bounds(metric)
    shown = [mean.interval for mean in means if mean.interval is not None]
    if not any(low < bounds[0] or high > bounds[1] for low, high in shown):
        return ""
    ends = " and ".join(f"{end:g}" for end in bounds if math.isfinite(end))
    return f" Intervals are cut at {ends}, where {metric} ends."


def _find_half_width_over_seeds(values: Floats) -> float:
    from scipy.special import stdtrit  # slow to import

    count = len(values)
    return float(stdtrit(count - 1, (1 + LEVEL) / 2) * values.std(ddof=1) / np.sqrt(count))


@dataclass(frozen=True)
class Paired:
    """A group minus the best on validation, on the same test rows.

    Attributes:
        value: The mean difference, positive where the group is better than the best.
        interval: Its interval, corrected for all comparisons of the table.
        effect: The mean difference in standard deviations over seeds (Cohen's d for pairs); None
            of one seed, or where seeds do not differ.
    """

    value: float
    interval: tuple[float, float]
    effect: float | None


@dataclass(frozen=True)
class GroupLine:
    """One line of the comparison.

    Attributes:
        group: The group.
        val, test: The metric on both splits.
        gain: Over the run's control; None where a run has none, or in another metric.
        seconds: Mean training time of a run, with its source unless that was cached.
        parameters: Of the target's model, mean over runs.
        is_best: Whether its mean on validation is the best of its target.
        is_on_front: Whether no other group of the target has a better test metric in less time.
        paired: Against the best; None for the best itself, and where there are no common rows.
    """

    group: RunGroup
    val: GroupMean
    test: GroupMean
    gain: GroupMean | None
    seconds: float
    parameters: float
    is_best: bool = False
    is_on_front: bool = False
    paired: Paired | None = None
