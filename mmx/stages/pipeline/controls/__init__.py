"""How each control is trained: one file for each, named as in ``mmx/controls/``."""

from __future__ import annotations

from mmx.stages.core.context import Trained
from mmx.stages.pipeline.controls.base import ControlBench, ControlTrainer, TrainedControl
from mmx.transfer import Source
from mmx.variants import find_variants

TRAINERS = find_variants("mmx.stages.pipeline.controls", ControlTrainer)
"""The trainers of this folder, by the names of their files."""


def check_controls(bench: ControlBench, source: Source) -> None:
    """Refuse controls that cannot start, before anything is trained.

    Args:
        bench: The run's bench.
        source: The source, trained or not: only its names and shapes matter.

    Raises:
        TransferError: The source does not fit a control.
    """
    for name in bench.context.experiment.controls:
        TRAINERS[name](name, bench).check(source)


def train_controls(bench: ControlBench, target: Trained) -> list[TrainedControl]:
    """Return the run's controls, in the order they were asked for."""
    names = bench.context.experiment.controls
    return [TRAINERS[name](name, bench).train(target) for name in names]
