"""A whole run: (search) → source → transfer → target → control → evaluation."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from mmx.experiment import Experiment
from mmx.experiment.identify import record_identity, record_published
from mmx.experiment.inputs import list_modalities
from mmx.runs.directory import RunDirectory
from mmx.runs.search_record import read_search_end
from mmx.runs.summary import DataCard, Summary
from mmx.stage_id import Role, StageId
from mmx.stages.core.context import Context, Opened, Specs, Trained
from mmx.stages.core.kept_encoders import may_stay_unmade
from mmx.stages.core.opened_data import (
    list_source_specs,
    load_task,
    open_task,
    say_other_scales,
)
from mmx.stages.core.published_source import describe_published, load_published
from mmx.stages.core.stage import GivenSource, Stage
from mmx.stages.pipeline.controls import check_controls, train_controls
from mmx.stages.pipeline.controls.base import ControlBench
from mmx.stages.pipeline.evaluate import Known, describe_data, evaluate
from mmx.stages.pipeline.kept_statistics import keep_statistics
from mmx.stages.pipeline.peft_export import write_adapters
from mmx.stages.pipeline.train import train_stage
from mmx.stages.selection.prepare import (
    dry_start,
    make_context,
    make_source_stage,
    offer_source,
)
from mmx.stages.selection.scratch_control import make_scratch_control
from mmx.tasks import TaskData
from mmx.training.events import Listener, StopRequest

UNREAD = ("source", "source_objective", "trainer.source_epochs")
"""Keys that get a note if a run does not read them; other unread keys show in its config."""


def run(
    experiment: Experiment,
    directory: RunDirectory,
    listen: Listener,
    stop: StopRequest,
    *,
    cached: bool = True,
) -> Summary:
    """Run an experiment and return its summary.

    docs/reference/run_directory.md says what its keys mean.

    Args:
        experiment: What to run.
        directory: Where its results go.
        listen: Called with its events.
        stop: A request to stop.
        cached: Whether the artifact cache may be used.
    """
    began = time.perf_counter()
    context = make_context(experiment, directory, listen, stop, cached=cached)
    context = replace(context, experiment=_choose_experiment(context))
    tasks = _open_tasks(context)
    source = _train_source(context, tasks)
    notes = [*tasks.notes, *_find_shared_samples(context, tasks, source), *tasks.target.notes]
    given = _give_source(context, tasks, source)
    notes.extend(describe_published(context, tasks.specs))
    stage = Stage(
        StageId.TARGET, tasks.target, context.experiment.transfer, given, tasks.opened_source
    )
    target = train_stage(context, stage)
    notes.extend(write_adapters(context, target, given))
    bench = ControlBench(context, tasks.target, tasks.offered, given)
    compared = [*make_scratch_control(context, target), *train_controls(bench, target)]
    _record_weights(context)
    keep_statistics(context, tasks.target)
    control_notes = [note for control in compared for note in control.notes]
    known = Known(
        notes=[*notes, *target.notes, *control_notes],
        data=tasks.fingerprints,
        cards=tasks.cards,
        search=read_search_end(directory),
        seconds=lambda: time.perf_counter() - began,
    )
    return evaluate(context, tasks.target.task, source, target, compared, known)


def _choose_experiment(context: Context) -> Experiment:
    """Return the experiment to run: the winner of a search, where there is one to be done."""
    if context.experiment.transfer.search is None:
        return context.experiment
    from mmx.stages.selection.search import choose_experiment  # slow to import

    return choose_experiment(context)


@dataclass
class _Tasks:
    """What a run reads.

    Attributes:
        target: The target, opened.
        offered: How inputs of the source are read, which the target's are read alike.
        source_task: The source's data; None where the run opens none.
        opened_source: The source, opened; None too once it has been trained alone.
        specs: How the inputs of both are read.
        notes: What is to be said of them.
        fingerprints: Of the data, by role.
        cards: Of the data, by role.
    """

    target: Opened
    offered: Specs
    source_task: TaskData | None
    opened_source: Opened | None
    specs: dict[Role, Specs]
    notes: list[str]
    fingerprints: dict[str, str]
    cards: dict[str, DataCard]


def _open_tasks(context: Context) -> _Tasks:
    """Open the source, where there is one, and then the target."""
    experiment = context.experiment
    notes = [f"{key}: {why}" for key, why in experiment.dropped.items() if key in UNREAD]
    fingerprints: dict[str, str] = {}
    cards: dict[str, DataCard] = {}
    source_task, opened_source, source_specs = None, None, Specs()
    if experiment.source is not None:
        source_task = load_task(context, experiment.source, Role.SOURCE, fingerprints, notes)
        opened_source = open_task(context, source_task, experiment.modalities[Role.SOURCE], {})
        source_specs = opened_source.specs
        cards[str(Role.SOURCE)] = describe_data(source_task, experiment.modalities[Role.SOURCE])
        notes.extend(opened_source.notes)
    task = load_task(context, experiment.target, Role.TARGET, fingerprints, notes)
    cards[str(Role.TARGET)] = describe_data(task, experiment.modalities[Role.TARGET])
    offered = list_source_specs(experiment, source_specs)
    target = open_task(context, task, experiment.modalities[Role.TARGET], offered)
    notes.extend(say_other_scales(context, target.specs, offered))
    specs = {Role.SOURCE: source_specs, Role.TARGET: target.specs}
    return _Tasks(target, offered, source_task, opened_source, specs, notes, fingerprints, cards)


def _train_source(context: Context, tasks: _Tasks) -> Trained | None:
    """Train the source before the target and return it; None where that is not asked for."""
    source, experiment = tasks.opened_source, context.experiment
    if source is None or experiment.joint:
        return None
    tasks.opened_source = None  # its data is freed: only joint training reads it again
    if not experiment.trains_source:
        return None
    untrained = dry_start(context, source, tasks.target)
    check_controls(ControlBench(context, tasks.target, tasks.offered, None), untrained)
    return train_stage(context, make_source_stage(context, source))


def _give_source(context: Context, tasks: _Tasks, source: Trained | None) -> GivenSource | None:
    """Return what the target starts from: the trained source, or published weights."""
    waits = may_stay_unmade(context)
    given = load_published(context, tasks.target, Role.TARGET, may_wait=waits)
    if given is not None:
        check_controls(ControlBench(context, tasks.target, tasks.offered, None), given.source)
    if source is not None and tasks.source_task is not None:
        given = offer_source(tasks.source_task, source)
    return given


def _record_weights(context: Context) -> None:
    """Record weight files that were fetched after the run was created, or that a search chose."""
    manifest, experiment = context.directory.manifest(), context.experiment
    if experiment.weight_digests.keys() - manifest.identity.weights.keys():
        now, published = record_identity(experiment), record_published(experiment)
        context.directory.write_manifest(manifest.with_weights(now, published))


def _find_shared_samples(context: Context, tasks: _Tasks, trained: Trained | None) -> list[str]:
    """Return a warning if test samples of the target are among the source's training rows."""
    source, target = tasks.source_task, tasks.target.task
    if source is None or (trained is None and tasks.opened_source is None):
        return []
    found = []
    for name, other in _pair_alike_inputs(context.experiment, source, target):
        # A digest of 0 stands for a row that lacks the modality.
        theirs = set(source.digests[other][source.splits["train"]].tolist()) - {0}
        tested = target.digests[name][target.splits["test"]].tolist()
        count = sum(digest in theirs for digest in tested)
        if count:
            as_theirs = "" if name == other else f"{other} "
            found.append(
                f"WARNING: {count} of {len(tested)} test samples of {target.name} have the same "
                f"{name} as {as_theirs}training samples of {source.name}: the gain is not to be "
                "trusted"
            )
    return found


def _pair_alike_inputs(
    experiment: Experiment, source: TaskData, target: TaskData
) -> list[tuple[str, str]]:
    """Return the inputs of the target and of the source that are of one modality, in pairs."""
    theirs = list_modalities([experiment.modalities.get(Role.SOURCE, {})])
    ours = list_modalities([experiment.modalities[Role.TARGET]])
    return [
        (name, other)
        for name in sorted(target.digests)
        for other in sorted(source.digests)
        if ours.get(name, name) == theirs.get(other, other)
    ]
