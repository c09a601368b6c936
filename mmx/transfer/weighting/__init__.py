"""Weighting: what the losses of two tasks that train jointly count.

A step takes a batch of the target and one of the source, and descends

    L = w_t L_t + w_s L_s

    fixed        w_t = 1, w_s chosen
    uncertainty  a learned variance for each task, whose loss counts less the larger it is
    gradnorm     gradients of equal size, larger where a task lags behind
"""

from typing import TYPE_CHECKING, Literal, TypeAlias

from mmx.transfer.weighting.base import SOURCE, TARGET, TASKS, Weighting
from mmx.variants import find_variants

WEIGHTINGS: dict[str, type[Weighting]] = find_variants("mmx.transfer.weighting", Weighting)
"""Those of this folder, by the name of their file."""
if TYPE_CHECKING:
    WeightingName: TypeAlias = str
else:
    WeightingName = Literal[tuple(WEIGHTINGS)]

__all__ = ["SOURCE", "TARGET", "TASKS", "WEIGHTINGS", "Weighting", "WeightingName"]
