"""A search: candidates ordered by scores, then successive halving on validation.

all candidates ─ refused ─ ordered by scores ─ rung 1 ─ rung 2 … ─ the winner's experiment
                 (why)     (test rows closed)  each on train rows, judged on val rows
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace

from mmx.controls import CONTROLS, find_control
from mmx.errors import ConfigError, Problem, TransferError
from mmx.evaluation.metrics import PRIMARY
from mmx.experiment import Experiment
from mmx.experiment.config_fingerprint import digest_config
from mmx.runs.search_record import SCRATCH, SEARCH_FILE, SearchRecord, read_search, read_winner
from mmx.stage_id import Role
from mmx.stages.core.cache_keys import describe_source
from mmx.stages.core.context import Context, Opened, Trained
from mmx.stages.core.joint_model import join
from mmx.stages.core.stage_model import make_model
from mmx.stages.pipeline.controls import check_controls
from mmx.stages.pipeline.controls.base import ControlBench, TrainedControl
from mmx.stages.selection.order import order_candidates
from mmx.stages.selection.prepare import Prepared, dry_start, open_tasks, train_source
from mmx.stages.selection.successive_halving import PLACE, Choice, Clock, Trials
from mmx.training.fit import count_steps_per_epoch
from mmx.transfer import Source
from mmx.transfer.auto import Auto
from mmx.transfer.candidates import candidates
from mmx.transfer.rungs import Rung, by_seconds, by_steps, least_steps


def choose_experiment(context: Context, clock: Clock = time.perf_counter) -> Experiment:
    """Return the experiment to run: the winner of a search where there is one to be done.

    The run directory's ``config.yaml`` is then the winner's; what was given stays beside it.

    Args:
        context: Of the run.
        clock: Tells the seconds that a budget of seconds is counted in.

    Raises:
        ConfigError: No candidate fits the experiment.
        TransferError: The budget allows no choice, or no candidate could be trained.
    """
    auto = context.experiment.transfer
    if not isinstance(auto, Auto):
        return context.experiment
    choices, refused = _assemble_candidates(context.experiment, auto)
    name = read_winner(context.directory)  # chosen just before the run was killed
    if name not in {choice.name for choice in choices}:
        name = _search(context, auto, choices, refused, clock)
    winner = next(choice for choice in choices if choice.name == name)
    shutil.rmtree(context.directory.path / PLACE, ignore_errors=True)
    _record_names(context, winner.experiment)
    context.directory.settle(winner.experiment.config)
    return winner.experiment


def _record_names(context: Context, chosen: Experiment) -> None:
    """Record what the parts of the chosen config are called, and its digest."""
    manifest = context.directory.manifest()
    identity = {**manifest.get("identity", {}), "settled": digest_config(chosen.config)}
    entries = {"names": chosen.names, "identity": identity}
    context.directory.replace_manifest({**manifest, **entries})


def _assemble_candidates(experiment: Experiment, auto: Auto) -> tuple[list[Choice], dict[str, str]]:
    """Return the candidates that fit the experiment, and why the others do not.

    Raises:
        ConfigError: None does.
    """
    found: list[Choice] = []
    refused: dict[str, str] = {}
    problems: list[Problem] = []
    for candidate in candidates(auto):
        nodes: dict[str, object] = {**candidate.config()}
        if candidate.mode == "scratch":  # there is no source for a linear probe
            names = experiment.controls
            without = [name for name in names if not CONTROLS[name].needs_source_weights]
            nodes["control"] = without or "none"
        try:
            found.append(Choice(candidate, experiment.otherwise(nodes)))
        except ConfigError as error:
            problems.extend(error.problems)
            refused[candidate.name] = f"{error.problems[0].given}: {error.problems[0].reason}"
    if not found:
        raise ConfigError(dict.fromkeys(problems))
    return found, refused


def _search(
    context: Context,
    auto: Auto,
    choices: list[Choice],
    refused: dict[str, str],
    clock: Clock,
) -> str:
    """Return the name of the winner."""
    prepared = open_tasks(context)
    began = clock()
    choices, others = _find_startable(context, prepared, choices)
    spent = clock() - began
    trainer, data = context.experiment.trainer.of(Role.TARGET), prepared.target.data
    steps = count_steps_per_epoch(data.rows("train"), trainer)
    budget = auto.steps(steps, trainer.epochs)
    plan = {
        "budget": {"seconds": auto.budget_seconds} if budget is None else {"steps": budget},
        "eta": auto.eta,
        "metric": PRIMARY[prepared.target.task.target.kind],
        "epochs": trainer.epochs,
        "steps_per_epoch": steps,
        "candidates": [choice.name for choice in choices],
        "refused": {**refused, **others},
    }
    if budget is None:
        rungs = by_seconds(len(choices), auto.eta, trainer.epochs)
    else:
        rungs = by_steps(len(choices), auto.eta, budget, steps, trainer.epochs)
        _refuse_tiny(budget, steps, len(choices), rungs)
    if any(choice.experiment.trains_source for choice in choices):
        prepared = train_source(context, prepared)
    record = SearchRecord(context.directory.path / SEARCH_FILE, plan)
    if not record.begun:
        began = clock()
        cached = prepared.given is not None and prepared.given.trained.cached
        order, scores = order_candidates(context, prepared, choices)
        spent += clock() - began
        record.write(
            order=order,
            scores=scores,
            source_cached=cached,
            seconds=spent,
            controls=list(context.experiment.controls),
        )
    return Trials(context, prepared, record, rungs, auto.budget_seconds, clock).find_winner(choices)


def make_scratch_control(context: Context, target: Trained) -> list[TrainedControl]:
    """Return the scratch control of a run whose search chose to train from scratch: itself.

    Without it such runs would have no gain, and the mean over seeds would be one over those
    seeds alone in which transfer looked good.
    """
    data = read_search(context.directory.path / SEARCH_FILE)
    if data.get("winner") != SCRATCH:
        return []
    why = "the search chose scratch, so it is the run itself, and the gain is 0"
    return [
        replace(
            TrainedControl.of(name, context, target),
            seconds=0.0,
            notes=(f"control {name}: {why}",),
        )
        for name in data["controls"]
        if find_control(name).without_source
    ]


def _refuse_tiny(budget: int, steps: int, count: int, rungs: Sequence[Rung]) -> None:
    if count > 1 and not rungs:
        raise TransferError(
            f"transfer.budget_steps={budget} allows no choice: two candidates take an epoch of "
            f"{steps} steps each",
            tip=f"transfer.budget_steps={least_steps(steps)} or more",
        )


def _find_startable(
    context: Context, prepared: Prepared, choices: list[Choice]
) -> tuple[list[Choice], dict[str, str]]:
    """Return the candidates that can start, and why others cannot, before anything is trained.

    Raises:
        TransferError: None can, or a control cannot.
    """
    if prepared.source is None:
        raise RuntimeError("without a source the assembly leaves no search to do")
    trained = describe_source(context, prepared.source)
    found, others, given = [], {}, None
    for choice in choices:
        asks = replace(context, experiment=choice.experiment)
        if choice.experiment.trains_source and describe_source(asks, prepared.source) != trained:
            others[choice.name] = (
                "needs a source trained otherwise, with the fusion of its own or without: "
                "transfer.fusion says which the search trains"
            )
            continue
        try:
            given = _dry_start(asks, prepared.source, prepared.target) or given
        except TransferError as error:
            others[choice.name] = " ".join(error.message.split())
        else:
            found.append(choice)
    if not found:
        why = "".join(f"\n  {name}: {reason}" for name, reason in others.items())
        raise TransferError(f"no candidate can start from what the source gives{why}")
    if given is not None:
        bench = ControlBench(context, prepared.target, prepared.source.specs, None)
        check_controls(bench, given)
    return found, others


def _dry_start(context: Context, source: Opened, target: Opened) -> Source | None:
    """Start a candidate as its trials will, and forget it; return the untrained source it takes of.

    Raises:
        TransferError: It cannot.
    """
    experiment = context.experiment
    if experiment.trains_source:
        return dry_start(context, source, target)
    if experiment.joint:
        ends, transfer = target.task.target, experiment.transfer
        join(context, make_model(experiment, Role.TARGET, target.specs, ends, transfer), source)
    return None
