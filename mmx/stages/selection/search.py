"""A search: candidates ordered by scores, then successive halving on validation.

all candidates ─ refused ─ ordered by scores ─ rung 1 ─ rung 2 … ─ the winner's experiment
                 (why)     (test rows closed)  each on train rows, judged on val rows
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from functools import partial

from mmx.errors import TransferError
from mmx.evaluation.metrics import find_primary
from mmx.experiment import Experiment
from mmx.experiment.config_fingerprint import digest_config
from mmx.experiment.task_names import find_source_name
from mmx.runs.search_record import (
    SCRATCH,
    SEARCH_FORMAT,
    SearchPlan,
    SearchRecord,
    read_search,
    write_search,
)
from mmx.stage_id import Role, StageId
from mmx.stages.core.context import Context
from mmx.stages.selection.choices import Choice, assemble_choices, find_startable
from mmx.stages.selection.order import order_candidates
from mmx.stages.selection.prepare import Prepared, open_tasks, train_source
from mmx.stages.selection.rungs import Rung, find_least_steps, plan_by_seconds, plan_by_steps
from mmx.stages.selection.successive_halving import SuccessiveHalving
from mmx.stages.selection.trial import TRIALS_FOLDER, Clock, TrialTrainer
from mmx.training.events import Event, EventKind
from mmx.training.fit import count_steps_per_epoch
from mmx.transfer.search_contract import Search


def choose_experiment(context: Context, clock: Clock = time.perf_counter) -> Experiment:
    """Return the experiment to run: the winner of a search where there is one to be done.

    The run directory's ``config.yaml`` is then the winner's; the given one is kept as
    ``config.auto.yaml``.

    Args:
        context: Of the run.
        clock: Tells the seconds that a budget of seconds is counted in.

    Raises:
        ConfigError: No candidate fits the experiment.
        TransferError: The budget allows no choice, or no candidate could be trained.
    """
    search = context.experiment.transfer.search
    if search is None:
        return context.experiment
    choices, refused = assemble_choices(context.experiment, search)
    by_name = {choice.name: choice for choice in choices}
    record = read_search(context.directory)
    name = record.winner if record else None  # the run was killed after it had been chosen
    if name is None or name not in by_name:
        name = _search(context, search, choices, refused, clock)
    winner = by_name[name].experiment
    shutil.rmtree(context.directory.path / TRIALS_FOLDER, ignore_errors=True)
    _record_names(context, winner)
    context.directory.set_chosen_config(winner.config)
    return winner


def _record_names(context: Context, chosen: Experiment) -> None:
    """Record what the parts of the chosen config are called, and its digest."""
    manifest = context.directory.manifest()
    digest = digest_config(chosen.config)
    context.directory.write_manifest(manifest.with_choice(chosen.names, digest))


def _search(
    context: Context,
    search: Search,
    choices: Sequence[Choice],
    refused: dict[str, str],
    clock: Clock,
) -> str:
    """Return the name of the winner; what is done on the way is in ``auto.json``."""
    prepared = open_tasks(context)
    began = clock()
    choices, not_startable = find_startable(context, prepared, choices)
    seconds = clock() - began
    names = [choice.name for choice in choices]
    plan, rungs = _plan(context, search, prepared, names, {**refused, **not_startable})
    if any(choice.experiment.trains_source for choice in choices):
        prepared = train_source(context, prepared)
    known = read_search(context.directory)  # of a run that was interrupted while it searched
    if known is not None and known.plan == plan:
        record = known
    else:
        record = _begin(context, prepared, choices, plan, rungs, seconds, clock)
    _say_plan(context, record, rungs)
    in_order = sorted(choices, key=lambda choice: record.order.index(choice.name))
    planned = sum(rung.candidates * rung.epochs for rung in rungs)
    halving = SuccessiveHalving(
        record,
        rungs,
        TrialTrainer(context, prepared, in_order, planned, clock),
        write=partial(write_search, context.directory),
        note=partial(context.note, StageId.SEARCH),
        seconds=search.budget_seconds,
    )
    record = halving.run()
    record = record.with_winner(record.best, _state_verdict(context, record))
    write_search(context.directory, record)
    for line in record.format_table():
        context.note(StageId.SEARCH, line)
    text = f"chose {record.winner}; {record.verdict}"
    context.listen(Event(EventKind.DONE, StageId.SEARCH, seconds=record.seconds, text=text))
    return record.best


def _plan(
    context: Context, search: Search, prepared: Prepared, names: list[str], refused: dict[str, str]
) -> tuple[SearchPlan, tuple[Rung, ...]]:
    """Return what the search depends on, and its rungs.

    Raises:
        TransferError: The budget allows no choice.
    """
    trainer = context.experiment.trainer.of(Role.TARGET)
    steps = count_steps_per_epoch(prepared.target.data.rows("train"), trainer)
    if search.budget_seconds is not None:
        budget: dict[str, int | float] = {"seconds": search.budget_seconds}
        rungs = plan_by_seconds(len(names), search.eta, trainer.epochs)
    else:
        allowed = search.find_budget_steps(steps, trainer.epochs)
        budget = {"steps": allowed}
        rungs = plan_by_steps(len(names), search.eta, allowed, steps, trainer.epochs)
        if len(names) > 1 and not rungs:
            raise TransferError(
                f"transfer.budget_steps={allowed} allows no choice: two candidates take an epoch "
                f"of {steps} steps each",
                tip=f"transfer.budget_steps={find_least_steps(steps)} or more",
            )
    plan = SearchPlan(
        budget=budget,
        eta=search.eta,
        metric=find_primary(prepared.target.task.target.kind, context.experiment.metric),
        epochs=trainer.epochs,
        steps_per_epoch=steps,
        candidates=names,
        refused=refused,
    )
    return plan, rungs


def _begin(
    context: Context,
    prepared: Prepared,
    choices: Sequence[Choice],
    plan: SearchPlan,
    rungs: Sequence[Rung],
    seconds: float,
    clock: Clock,
) -> SearchRecord:
    """Return the record of a search without trials, written: its order and what is left out."""
    began = clock()
    order, scores = order_candidates(context, prepared, choices)
    entering = rungs[0].candidates if rungs else 1
    record = SearchRecord(
        format=SEARCH_FORMAT,
        plan=plan,
        order=order,
        scores=scores,
        trials=[],
        rungs=[],
        seconds=seconds + (clock() - began),
        winner=None,
        verdict="",
        source_cached=prepared.given is not None and prepared.given.cached,
        controls=list(context.experiment.controls),
        left_out={
            name: f"not tried: the budget has room for {entering}, and the scores put it in "
            f"place {place} of {len(order)}"
            for place, name in enumerate(order, 1)
            if place > entering
        },
    )
    return write_search(context.directory, record)


def _say_plan(context: Context, record: SearchRecord, rungs: Sequence[Rung]) -> None:
    """Say what is going to be done."""
    budget = ", ".join(f"{value:g} {unit}" for unit, value in record.plan.budget.items())
    planned = ", then ".join(
        f"{rung.candidates} for {rung.epochs} epoch{'' if rung.epochs == 1 else 's'}"
        for rung in rungs
    )
    head = f"{len(record.order)} candidates, {budget} for all trials"
    context.note(StageId.SEARCH, f"{head}: {planned or 'nothing to choose'}")
    for name, why in record.plan.refused.items():
        context.note(StageId.SEARCH, f"left out {name}: {why}")
    if record.trials:
        context.note(StageId.SEARCH, f"{len(record.trials)} trials had ended before")


def _state_verdict(context: Context, record: SearchRecord) -> str:
    """Return what the search says of transfer itself, its rungs being over."""
    name = find_source_name(context.experiment)
    others = [trial for trial in record.trials if trial.candidate != record.best]
    if not others:
        if len(record.order) > 1:
            return "the budget had room for no other: it was compared with nothing"
        return "there was nothing else to try"
    if all(trial.error for trial in others):
        return "no other candidate could be trained: whether transfer helps is not known"
    if record.best == SCRATCH:
        return (
            f"on validation no candidate that takes something from {name} did better than from "
            "scratch: this source does not help here"
        )
    fresh = [trial for trial in others if trial.candidate == SCRATCH]
    if not fresh:
        return "scratch was not among the candidates: whether transfer helps is for the control"
    if fresh[-1].error:
        return "from scratch could not be trained: whether transfer helps is not known"
    # Both were compared while both were in: what scratch may do later is for the control.
    return (
        f"on validation, with the help of {name}, it did better than from scratch after "
        f"{fresh[-1].epochs} of {record.plan.epochs} epochs"
    )
