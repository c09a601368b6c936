"""Weighting: the weights of the two losses in joint training.

A step takes a batch of the target and one of the source, and minimises

    L = w_t L_t + w_s L_s

    fixed        w_t = 1, w_s is an option
    uncertainty  a learned variance for each task; the larger it is, the less the loss counts
    gradnorm     gradients of equal size, larger for the task that lags behind
"""

from typing import TYPE_CHECKING, Literal, TypeAlias

from mmx.transfer.weighting.base import SOURCE, TARGET, TASKS, Weighting
from mmx.variants import find_variants

WEIGHTINGS: dict[str, type[Weighting]] = find_variants("mmx.transfer.weighting", Weighting)
"""The weightings of this folder, by the names of their files."""
if TYPE_CHECKING:
    WeightingName: TypeAlias = str
else:
    WeightingName = Literal[tuple(WEIGHTINGS)]

__all__ = ["SOURCE", "TARGET", "TASKS", "WEIGHTINGS", "Weighting", "WeightingName"]
