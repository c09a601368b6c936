"""The control of a run whose search chose to take nothing from its source."""

from __future__ import annotations

from dataclasses import replace

from mmx.controls import find_control
from mmx.runs.search_record import SCRATCH, read_search
from mmx.stages.core.context import Context, Trained
from mmx.stages.pipeline.controls.base import TrainedControl


def make_scratch_control(context: Context, target: Trained) -> list[TrainedControl]:
    """Return the scratch control of a run whose search chose to train from scratch: itself.

    Without it such runs would have no gain, and the mean over seeds would be one over those
    seeds alone in which transfer looked good.
    """
    record = read_search(context.directory)
    if record is None or record.winner != SCRATCH:
        return []
    why = "the search chose scratch, so it is the run itself, and the gain is 0"
    return [
        replace(
            TrainedControl.of(name, context, target),
            seconds=0.0,
            notes=(f"control {name}: {why}",),
        )
        for name in record.controls
        if find_control(name).without_source
    ]
