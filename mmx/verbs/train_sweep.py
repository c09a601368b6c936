"""``mmx train -m``: runs all jobs of a sweep, and prints one table and what failed."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

from mmx.config.hydra_node import OWN_LAUNCHERS
from mmx.config.launch import run_jobs
from mmx.errors import BUDGET_USED, MmxError, UsageError
from mmx.experiment import Experiment
from mmx.experiment.identify import forget_data
from mmx.reports import gains_page
from mmx.reports.conclusion import conclude_sweep, conclude_without_control
from mmx.reports.next_command import Typed
from mmx.reports.sweep_gains import compute_gains
from mmx.reports.sweep_page import write_sweep
from mmx.reports.sweep_view import format_time
from mmx.runs import sweep
from mmx.runs.directory import RunDirectory
from mmx.runs.draw import Draw
from mmx.runs.ending import explain_full_disk
from mmx.runs.file_locks import explain_local_locks
from mmx.runs.sweep import Planned, Sweep
from mmx.runs.sweep_process import announce_process
from mmx.runs.sweep_row import SweepRow, group_runs
from mmx.runs.variation import label_variants
from mmx.terminal import Console
from mmx.verbs.preflight import Job, make_variant
from mmx.verbs.sweep_line import Continuation
from mmx.verbs.train_job import SweepJob, describe_wanted
from mmx.verbs.train_workers import (
    describe_sources,
    plan_sweep_workers,
    run_in_workers,
    run_on_cluster,
)
from mmx.workers.plan import WorkerPlan
from mmx.workers.remote import is_here

LOG_WIDTH = 160
"""Columns of a table that goes to a pipe or log."""


@dataclass(frozen=True)
class EndedSweep:
    """A sweep that ended, with all jobs done or not.

    Attributes:
        path: Its directory.
        rows: One for each job, in the order of the plan; see :meth:`Sweep.make_rows`.
        code: The exit code.
    """

    path: Path
    rows: list[SweepRow]
    code: int


def run_sweep(
    found: Sequence[Job],
    allowed: Sequence[str],
    where: Path | None,
    argv: Sequence[str],
    config_dirs: Sequence[Path] = (),
    *,
    until: float | None = None,
    again: Continuation | None = None,
) -> EndedSweep:
    """Run the jobs that are not done yet and print tables of what came out.

    Args:
        found: The jobs of a command line, checked.
        allowed: Packages whose classes configs may name.
        where: The sweep's directory, if the user named one.
        argv: The command line as it was typed.
        config_dirs: The user's folders of YAML.
        until: When the budget of time is used up, in seconds since 1970; None for no budget.
        again: The sweep that goes on; None for the one that these jobs make.

    Raises:
        RunError: The sweep that goes on has other jobs.
        UsageError: Its jobs run on several machines, and its folder has no locks between them.
    """
    forget_data()  # of an earlier sweep of this process
    jobs = plan_jobs(found)
    if again is not None:
        argv = again.choose_line(argv, [job.overrides for job in jobs], list_job_keys(jobs))
    workers = _share_machine(found, jobs)
    output = Path(found[0].experiment.settings.output_dir)
    _check_locks(sweep.find_sweep(output, jobs, where).path, found)
    plan = sweep.plan_sweep(output, jobs, where, argv)
    before = _snapshot(plan)
    task = SweepJob(plan, allowed, config_dirs, argv, until)
    chosen = found if again is None else again.choose_jobs(found)
    console = Console(stderr=True)
    if chosen and chosen[0].composed.launcher.name == "basic":
        _say(console, describe_sources(chosen, workers))
    stopped = _run_until_stopped(console, task, chosen, workers)
    if _snapshot(plan) != before:  # runs took time, in which data may have changed
        forget_data()
    rows = plan.make_rows(jobs)
    _say_end(console, plan, rows, argv, stopped)
    failed = int(not all(row.is_done for row in rows))
    return EndedSweep(plan.path, rows, failed if stopped is None else stopped)


def _say_end(
    console: Console,
    plan: sweep.Sweep,
    rows: list[SweepRow],
    argv: Sequence[str],
    stopped: int | None,
) -> None:
    """Write and print what came out of a sweep: tables, gains, what failed, why it stopped.

    Raises:
        MmxError: The disk is full.
    """
    console.width = console.width if console.is_terminal else LOG_WIDTH
    for table in sweep.make_tables(rows):
        console.print(table)
    full: Exception | None = None
    try:
        plan.write_summary(rows)
        _say_gains(console, plan, rows, argv)
    except OSError as error:  # what has failed is said all the same
        what = f"mmx sweep resume {shlex.quote(str(plan.path))}"
        full = explain_full_disk(error, plan.path, what)
    failures = [row for row in rows if not row.is_done]
    for text in _describe_failures(failures, plan.path):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    if stopped == BUDGET_USED:
        text = "stopped: the budget of time is used up; the same command goes on"
        console.print(text, highlight=False, soft_wrap=True)
    if full is not None:
        raise full


def _say(console: Console, text: str) -> None:
    """Print a line; nothing of an empty text."""
    if text:
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def _check_locks(path: Path, found: Sequence[Job]) -> None:
    """Say that a sweep's folder has no locks between machines, if so.

    Raises:
        UsageError: Its jobs run on several.
    """
    why = explain_local_locks(path)
    if not why:
        return
    launcher = found[0].composed.launcher
    if launcher.name in OWN_LAUNCHERS and not is_here(launcher.name, launcher.options):
        raise UsageError(
            f"{why}: its locks hold on one machine alone, and the jobs of "
            f"hydra/launcher={launcher.name} run on several",
            tip="hydra.sweep.dir=<a folder on another file system>, or run the jobs on one machine "
            "(without hydra/launcher), or have it mounted with locks (docs/guides/clusters.md)",
        )
    text = f"note: {why}: its locks hold on one machine alone, so run this sweep on one at a time"
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def _share_machine(found: Sequence[Job], jobs: Sequence[Planned]) -> WorkerPlan:
    """Return how the jobs share this machine; a launcher of Hydra decides that by itself."""
    if found[0].composed.launcher.name != "basic":
        return WorkerPlan(1)
    return plan_sweep_workers(found, list_job_keys(jobs))


def _run_until_stopped(
    console: Console, task: SweepJob, found: Sequence[Job], workers: WorkerPlan
) -> int | None:
    """Run the jobs; return the exit code of what stopped them, None where nothing did."""
    try:
        with announce_process(task.sweep.path):
            _run_all(task, found, workers)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) and error.code > 2 else None
    except BrokenExecutor:  # the launcher then ends the other workers too
        text = "a worker process was killed: the same command goes on with what is not done"
        console.print(text, soft_wrap=True)
    return None


def _run_all(task: SweepJob, found: Sequence[Job], workers: WorkerPlan) -> None:
    """Run the jobs in workers of this machine, or one after the other here, or on a launcher.

    Raises:
        SystemExit: A signal stopped them.
    """
    if found and found[0].composed.launcher.name in OWN_LAUNCHERS:
        if code := run_on_cluster(task, found):
            sys.exit(code)
        return
    if workers.processes > 1:
        if code := run_in_workers(task, found, workers):
            sys.exit(code)
        return
    run_jobs(task, [job.composed for job in found], _make_countdown(task, found))


def _make_countdown(task: SweepJob, found: Sequence[Job]) -> list[Callable[[], None]]:
    """Return a function for each job, which runs it here and then says how long the others take."""
    console, seconds = Console(stderr=True), list[float]()

    def run(number: int, job: Job) -> None:
        began = time.monotonic()
        if not task.run(job.composed, job.experiment):
            return  # a skipped job: its time would make the others look shorter than they are
        seconds.append(time.monotonic() - began)
        if left := len(found) - number:
            about = format_time(fmean(seconds) * left)
            text = f"{number} of {len(found)} jobs ended, about {about} left"
            console.print(text, style="dim", highlight=False)

    return [partial(run, number, job) for number, job in enumerate(found, 1)]


def plan_jobs(found: Sequence[Job]) -> list[Planned]:
    """Return the jobs of a plan, each with the label of its group."""
    called = label_variants([make_variant(job) for job in found])
    return [
        Planned(
            job.composed.overrides,
            label,
            find_draw(job.experiment),
            describe_wanted(job.experiment),
        )
        for job, label in zip(found, called, strict=True)
    ]


def list_job_keys(jobs: Sequence[Planned]) -> list[str]:
    """Return the keys of planned jobs."""
    return [job.wanted.key for job in jobs]


def find_draw(experiment: Experiment) -> Draw:
    """Return what tells a job from others of its group."""
    seed, fold = experiment.settings.seed, experiment.target.tested_fold
    return Draw(seed=seed) if fold is None else Draw(fold.repeat, fold.number, seed, fold.count)


def _snapshot(plan: Sweep) -> dict[str, object]:
    """Return when each run last changed its status, to see whether any did something."""
    found: dict[str, object] = {}
    for path in sorted(plan.runs.iterdir()):
        try:
            found[path.name] = RunDirectory(path).status().get("since")
        except MmxError:  # nobody works on a run whose status cannot be read
            found[path.name] = None
    return found


def _describe_failures(rows: Sequence[SweepRow], path: Path) -> Iterator[str]:
    """Yield a line for each job that is not done, and what to type; those not started share one."""
    begun = [row for row in rows if row.run]
    for row in begun:
        why = f": {row.error}" if row.error else ""
        yield f"{row.status}: {row.job}{why} ({row.run})"
    if any(row.status == "failed" for row in begun):
        again = f"mmx sweep resume {shlex.quote(str(path))}"
        yield f"  tip: {again}   (what is not done, once that is mended)"
    if waiting := len(rows) - len(begun):
        jobs = "1 job" if waiting == 1 else f"{waiting} jobs"
        yield f"not started: {jobs}; the same command goes on with what is not done"


def _say_gains(
    console: Console, plan: Sweep, rows: Sequence[SweepRow], argv: Sequence[str]
) -> None:
    """Print and write the gains of finished runs, group by group."""
    paths = {
        group: [Path(row.run) for row in members] for group, members in group_runs(rows).items()
    }
    found = compute_gains(paths)
    write_sweep(plan.path, rows, found, argv)
    if not found.found:
        gains_page.remove_gains(plan.path)
    if not paths:
        return
    one = RunDirectory(next(iter(paths.values()))[0])
    typed = Typed(argv, one.config())
    if found.found:
        gains_page.write_gains(plan.path, found)
        console.print(gains_page.make_gains_table(found))
        told = conclude_sweep(found, plan.path, typed, one.read_summary())
        told = [*gains_page.list_notes(found), *told]
    else:
        groups = {
            group: [RunDirectory(run).read_summary() for run in runs]
            for group, runs in paths.items()
        }
        told = conclude_without_control(groups, plan.path, typed)
    for text in told:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
