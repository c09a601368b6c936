"""What source and target of an experiment are called in reports."""

from __future__ import annotations

from mmx.encoders.published import PublishedWeights
from mmx.experiment.assemble import Experiment
from mmx.runs.task_names import find_task_name
from mmx.stage_id import Role


def find_source_name(experiment: Experiment) -> str:
    """Return what the source is called: its task, ``published``, both, or ``none``."""
    source = experiment.source
    names = [find_task_name(experiment.config[Role.SOURCE]) or source.name] if source else []
    if experiment.start.role is not None:
        names = [PublishedWeights.name, *names]
    return "+".join(names) or "none"


def find_target_name(experiment: Experiment) -> str:
    """Return what the target is called."""
    return find_task_name(experiment.config[Role.TARGET]) or experiment.target.name
