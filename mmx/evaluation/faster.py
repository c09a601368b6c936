"""Faster: how long a target trains until it is as good as its control ever was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmx.training.recipe import Epoch


@dataclass(frozen=True)
class Faster:
    """When the control's best validation metric was first reached.

    Attributes:
        metric: Of validation; larger is better.
        value: The control's best.
        control: Which control.
        control_steps, control_s: Optimiser steps and seconds of training that it took.
        target_steps, target_s: Those of the target, what its source took not counted; None
            where it never got there.
    """

    metric: str
    value: float
    control: str
    control_steps: int
    control_s: float
    target_steps: int | None
    target_s: float | None


def compare_speed(
    metric: str, control: str, of_target: Sequence[Epoch], of_control: Sequence[Epoch]
) -> Faster | None:
    """Compare two trainings epoch by epoch; None where the control's was not observed.

    Args:
        metric: Of validation; larger is better.
        control: Which control.
        of_target: Its epochs, in order.
        of_control: Those of the control.
    """
    if not of_control:
        return None
    best = max(value for _, _, value in of_control)
    steps, seconds = _first(of_control, best) or (0, 0.0)
    reached = _first(of_target, best)
    return Faster(
        metric=metric,
        value=best,
        control=control,
        control_steps=steps,
        control_s=round(seconds, 3),
        target_steps=None if reached is None else reached[0],
        target_s=None if reached is None else round(reached[1], 3),
    )


def _first(epochs: Sequence[Epoch], wanted: float) -> tuple[int, float] | None:
    """Return steps and seconds of the first epoch that is as good as wanted."""
    for steps, seconds, value in epochs:
        if value >= wanted:
            return steps, seconds
    return None
