"""A whole run: source → transfer → target → control → evaluation."""

from __future__ import annotations

import time
from typing import Any

from mmx.experiment import Experiment, Settings
from mmx.runs.cache import Cache, location
from mmx.runs.directory import RunDirectory
from mmx.stages.context import Context, Specs, Trained
from mmx.stages.evaluate import evaluate
from mmx.stages.open import load, open_task
from mmx.stages.train import Stage, train
from mmx.tasks import TaskData
from mmx.training.events import Listener, StopRequest
from mmx.training.precision import Precision, choose_device
from mmx.training.randomness import make_deterministic
from mmx.transfer import Source
from mmx.transfer.scratch import Scratch


def run(
    experiment: Experiment,
    directory: RunDirectory,
    listen: Listener,
    stop: StopRequest,
    *,
    cached: bool = True,
) -> dict[str, Any]:
    """Run an experiment and return its summary; see README for the summary's keys.

    Args:
        experiment: What to run.
        directory: Where its results go.
        listen: Hears what goes on.
        stop: Asks it to stop.
        cached: Whether the artifact cache may be used.
    """
    began = time.perf_counter()
    settings = experiment.settings
    make_deterministic(experiment.trainer.threads)
    device = choose_device(settings.device)
    precision = Precision.choose(settings.precision, device)
    cache = _cache(settings) if cached else None
    context = Context(experiment, directory, precision, listen, stop, cache)
    notes = [f"{key}: {why}" for key, why in experiment.dropped.items() if key == "source"]
    fingerprints: dict[str, str] = {}
    source_task, source_specs, source, beside = None, Specs(), None, None
    if experiment.source is not None:
        source_task = load(context, experiment.source, "source", fingerprints, notes)
        opened = open_task(context, source_task, experiment.modalities["source"], {})
        source_specs = opened.specs
        if experiment.joint:
            beside = opened
        elif experiment.transfer.needs == "weights":
            source = train(context, Stage("source", opened, Scratch()))
    target_task = load(context, experiment.target, "target", fingerprints, notes)
    if source_task is not None and (source is not None or beside is not None):
        notes.extend(_shared_samples(source_task, target_task))
    opened = open_task(context, target_task, experiment.modalities["target"], source_specs)
    notes.extend(opened.notes)
    given = None
    if source is not None and source_task is not None:
        given = Source(_transferable(source), source_task.target.classes)
    target = train(context, Stage("target", opened, experiment.transfer, given, beside))
    control = None
    if experiment.control:
        if any(spec is source_specs.get(name) for name, spec in opened.specs.items()):
            opened = open_task(context, target_task, experiment.modalities["target"], {})
        control = train(context, Stage("control", opened, Scratch()))
    summary = evaluate(context, target_task, source, target, control)
    summary["notes"] = [*notes, *target.notes]
    summary["data"] = fingerprints
    summary["timing"]["total_s"] = round(time.perf_counter() - began, 3)
    return summary


def _cache(settings: Settings) -> Cache | None:
    where = location(settings.cache)
    return None if where is None else Cache(where, round(settings.cache_gb * 1e9))


def _transferable(source: Trained) -> dict[str, Any]:
    """Return a source's tensors, less those of its objective and those fitted to its rows."""
    own: tuple[str, ...] = ("criterion.", "missing.")
    if source.model.mapping is not None and source.model.mapping.fitted:
        own += ("mapping.",)
    state = source.model.state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith(own)}


def _shared_samples(source: TaskData, target: TaskData) -> list[str]:
    """Return a warning where test samples of the target are among the source's training rows."""
    found = []
    for name in sorted(source.digests.keys() & target.digests.keys()):
        trained = set(source.digests[name][source.splits["train"]].tolist()) - {0}
        tested = target.digests[name][target.splits["test"]].tolist()
        count = sum(digest in trained for digest in tested)
        if count:
            found.append(
                f"WARNING: {count} of {len(tested)} test samples of {target.name} have the same "
                f"{name} as training samples of {source.name}: the gain is not to be trusted"
            )
    return found
