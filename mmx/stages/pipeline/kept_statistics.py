"""What a run keeps of its target's training rows, for measurements on other data."""

from __future__ import annotations

from mmx.evaluation.data_statistics import TrainingStatistics, measure_statistics
from mmx.experiment import Modalities
from mmx.runs.training_statistics import write_statistics
from mmx.stage_id import Role
from mmx.stages.core.context import Context, Opened, Specs
from mmx.tasks import TaskData


def keep_statistics(context: Context, opened: Opened) -> None:
    """Write the statistics of the target's training and validation rows."""
    modalities = context.experiment.modalities[Role.TARGET]
    found = measure_training(opened.task, modalities, opened.specs)
    write_statistics(context.directory, found)


def measure_training(task: TaskData, modalities: Modalities, specs: Specs) -> TrainingStatistics:
    """Return the statistics of a task's training and validation rows."""
    return TrainingStatistics(
        train=measure_statistics(task, task.splits["train"], modalities, specs),
        val=measure_statistics(task, task.splits["val"], modalities, specs),
    )
