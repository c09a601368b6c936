"""Speed: how long a target trains until it reaches the best metric of its control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # readers of a summary do without torch
    from mmx.training.recipe import Epoch


@dataclass(frozen=True)
class Faster:
    """When the control's best validation metric was first reached.

    Attributes:
        metric: The validation metric.
        value: The control's best value.
        control: The name of the control.
        control_steps, control_s: The control's optimiser steps and seconds of training until then.
        target_steps, target_s: The same of the target, without those of its source; None if it
            never reached the value.
    """

    metric: str
    value: float
    control: str
    control_steps: int
    control_s: float
    target_steps: int | None
    target_s: float | None


def compare_speed(
    metric: str,
    control: str,
    of_target: Sequence[Epoch],
    of_control: Sequence[Epoch],
    sign: int = 1,
) -> Faster | None:
    """Compare two trainings epoch by epoch; None if the control has no epochs.

    Args:
        metric: The validation metric.
        control: The name of the control.
        of_target: The target's epochs, in order; of their values the larger is better.
        of_control: The control's epochs, in order.
        sign: -1 where the epochs have the negative of the metric, since lower is better.
    """
    if not of_control:
        return None
    best = max(value for _, _, value in of_control)
    steps, seconds = _find_first(of_control, best) or (0, 0.0)
    reached = _find_first(of_target, best)
    return Faster(
        metric=metric,
        value=sign * best,
        control=control,
        control_steps=steps,
        control_s=round(seconds, 3),
        target_steps=None if reached is None else reached[0],
        target_s=None if reached is None else round(reached[1], 3),
    )


def _find_first(epochs: Sequence[Epoch], wanted: float) -> tuple[int, float] | None:
    """Return steps and seconds of the first epoch with at least the wanted value."""
    for steps, seconds, value in epochs:
        if value >= wanted:
            return steps, seconds
    return None
