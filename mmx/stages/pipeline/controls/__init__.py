"""How each control is trained: one file a control, named as the one in ``mmx/controls/`` is."""

from __future__ import annotations

from mmx.stages.core.context import Trained
from mmx.stages.pipeline.controls.base import ControlBench, ControlTrainer, TrainedControl
from mmx.transfer import Source
from mmx.variants import find_variants

TRAINERS = find_variants("mmx.stages.pipeline.controls", ControlTrainer)
"""Those of this folder, by the name of their file."""


def check_controls(bench: ControlBench, source: Source) -> None:
    """Refuse controls that cannot start, before anything is trained.

    Args:
        bench: Of the run.
        source: What the source would give; trained or not, its names and shapes decide.

    Raises:
        TransferError: The source does not fit a control.
    """
    for name in bench.context.experiment.controls:
        TRAINERS[name](name, bench).check(source)


def train_controls(bench: ControlBench, target: Trained) -> list[TrainedControl]:
    """Return the run's controls, in the order they were asked for."""
    names = bench.context.experiment.controls
    return [TRAINERS[name](name, bench).train(target) for name in names]
