"""What a run begins with, and a search or a ranking: these open no test rows.

Whatever is chosen by rows of ``train`` and ``val`` cannot depend on a split that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mmx.errors import DataError
from mmx.experiment import Experiment, Settings
from mmx.runs.cache import Cache, location
from mmx.runs.directory import RunDirectory
from mmx.stages.context import Context, Opened, Trained
from mmx.stages.open import load, open_task
from mmx.stages.train import Given, Stage, train
from mmx.tasks import TaskData
from mmx.training.events import Listener, StopRequest
from mmx.training.precision import Precision, choose_device
from mmx.training.randomness import make_deterministic
from mmx.transfer import Source
from mmx.transfer.scratch import Scratch

SELECTION = ("train", "val")


@dataclass(frozen=True)
class Begun:
    """A source, trained where the transfer takes its weights, and a target to choose on.

    Attributes:
        source: The source's data; None where there is no source.
        given: The trained source; None where it is not trained.
        target: The target's ``train`` and ``val`` rows, read as the source has learned to.
        alone: The same, read as without a source.
    """

    source: Opened | None
    given: Given | None
    target: Opened
    alone: Opened


def context_of(
    experiment: Experiment,
    directory: RunDirectory,
    listen: Listener,
    stop: StopRequest,
    *,
    cached: bool = True,
) -> Context:
    """Return what all stages share, torch asked for the same numbers each time.

    Args:
        experiment: What is run.
        directory: Where its results go.
        listen: Hears what goes on.
        stop: Asks it to stop.
        cached: Whether the artifact cache may be used.
    """
    settings = experiment.settings
    make_deterministic(experiment.trainer.threads)
    precision = Precision.choose(settings.precision, choose_device(settings.device))
    cache = _cache(settings) if cached else None
    return Context(experiment, directory, precision, listen, stop, cache)


def _cache(settings: Settings) -> Cache | None:
    where = location(settings.cache)
    return None if where is None else Cache(where, round(settings.cache_gb * 1e9))


def begin(context: Context) -> Begun:
    """Open source and target, and train the source where the transfer takes its weights."""
    experiment = context.experiment
    source, given = None, None
    if experiment.source is not None:
        task = load(context, experiment.source, "source", {}, [])
        source = open_task(context, task, experiment.modalities["source"], {})
        if experiment.trains_source:
            given = offered(task, train(context, Stage("source", source, Scratch())))
    found = for_selection(load(context, experiment.target, "target", {}, []))
    modalities = experiment.modalities["target"]
    alone = open_task(context, found, modalities, {})
    if source is None:
        return Begun(None, None, alone, alone)
    target = open_task(context, found, modalities, source.specs)
    return Begun(source, given, target, target if target.specs == alone.specs else alone)


def for_selection(task: TaskData) -> TaskData:
    """Return a task without its test rows.

    Raises:
        DataError: It has no rows to train on, or none to validate on.
    """
    splits = {name: rows for name, rows in task.splits.items() if name in SELECTION}
    for name in SELECTION:
        if not len(splits.get(name, ())):
            raise DataError(f"{task.name} has no {name} rows, and nothing can be chosen without")
    return replace(task, splits=splits)


def offered(task: TaskData, trained: Trained) -> Given:
    """Return what a trained source offers to its target."""
    return Given(Source(_transferable(trained), task.target.classes), trained)


def _transferable(source: Trained) -> dict[str, Any]:
    """Return a source's tensors, less those of its objective and those fitted to its rows."""
    own: tuple[str, ...] = ("criterion.", "missing.")
    if source.model.mapping is not None and source.model.mapping.fitted:
        own += ("mapping.",)
    state = source.model.state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith(own)}
