"""A whole run: (search) → source → transfer → target → control → evaluation."""

from __future__ import annotations

import time
from dataclasses import replace

from mmx.experiment import Experiment
from mmx.experiment.identify import record_identity, record_published
from mmx.experiment.inputs import list_modalities
from mmx.runs.directory import RunDirectory
from mmx.runs.search_record import read_search_end
from mmx.runs.summary import DataCard, Summary
from mmx.stage_id import Role, StageId
from mmx.stages.core.context import Context, Specs
from mmx.stages.core.kept_encoders import may_stay_unmade
from mmx.stages.core.opened_data import (
    list_source_specs,
    load_task,
    open_task,
    say_other_scales,
)
from mmx.stages.core.published_source import describe_published, load_published
from mmx.stages.core.stage import Stage
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
    experiment = _choose_experiment(context)
    context = replace(context, experiment=experiment)
    notes = [f"{key}: {why}" for key, why in experiment.dropped.items() if key in UNREAD]
    fingerprints: dict[str, str] = {}
    cards: dict[str, DataCard] = {}
    source_task, source_specs, source, opened_source = None, Specs(), None, None
    if experiment.source is not None:
        source_task = load_task(context, experiment.source, Role.SOURCE, fingerprints, notes)
        opened_source = open_task(context, source_task, experiment.modalities[Role.SOURCE], {})
        source_specs = opened_source.specs
        cards[str(Role.SOURCE)] = describe_data(source_task)
        notes.extend(opened_source.notes)
    target_task = load_task(context, experiment.target, Role.TARGET, fingerprints, notes)
    cards[str(Role.TARGET)] = describe_data(target_task)
    offered = list_source_specs(experiment, source_specs)
    opened = open_task(context, target_task, experiment.modalities[Role.TARGET], offered)
    notes.extend(say_other_scales(context, opened.specs, offered))
    if opened_source is not None and not experiment.joint:
        if experiment.trains_source:
            untrained = dry_start(context, opened_source, opened)
            check_controls(ControlBench(context, opened, offered, None), untrained)
            source = train_stage(context, make_source_stage(context, opened_source))
        opened_source = None  # free its data; only joint training reads it again
    if source_task is not None and (source is not None or opened_source is not None):
        notes.extend(_find_shared_samples(experiment, source_task, target_task))
    notes.extend(opened.notes)
    given = load_published(context, opened, Role.TARGET, may_wait=may_stay_unmade(context))
    if given is not None:
        check_controls(ControlBench(context, opened, offered, None), given.source)
    if source is not None and source_task is not None:
        given = offer_source(source_task, source)
    specs = {Role.SOURCE: source_specs, Role.TARGET: opened.specs}
    notes.extend(describe_published(context, specs))
    bench = ControlBench(context, opened, offered, given)
    target = train_stage(
        context, Stage(StageId.TARGET, opened, experiment.transfer, given, opened_source)
    )
    notes.extend(write_adapters(context, target, given))
    compared = [*make_scratch_control(context, target), *train_controls(bench, target)]
    _record_weights(context)
    keep_statistics(context, opened)
    control_notes = [note for control in compared for note in control.notes]
    known = Known(
        notes=[*notes, *target.notes, *control_notes],
        data=fingerprints,
        cards=cards,
        search=read_search_end(directory),
        seconds=lambda: time.perf_counter() - began,
    )
    return evaluate(context, target_task, source, target, compared, known)


def _choose_experiment(context: Context) -> Experiment:
    """Return the experiment to run: the winner of a search, where there is one to be done."""
    if context.experiment.transfer.search is None:
        return context.experiment
    from mmx.stages.selection.search import choose_experiment  # slow to import

    return choose_experiment(context)


def _record_weights(context: Context) -> None:
    """Record weight files that were fetched after the run was created, or that a search chose."""
    manifest, experiment = context.directory.manifest(), context.experiment
    if experiment.weight_digests.keys() - manifest.identity.weights.keys():
        now, published = record_identity(experiment), record_published(experiment)
        context.directory.write_manifest(manifest.with_weights(now, published))


def _find_shared_samples(experiment: Experiment, source: TaskData, target: TaskData) -> list[str]:
    """Return a warning if test samples of the target are among the source's training rows."""
    found = []
    for name, other in _pair_alike_inputs(experiment, source, target):
        # A digest of 0 stands for a row that lacks the modality.
        trained = set(source.digests[other][source.splits["train"]].tolist()) - {0}
        tested = target.digests[name][target.splits["test"]].tolist()
        count = sum(digest in trained for digest in tested)
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
