"""``mmx train -m``: every job, one table, and what failed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmx.config.compose import Composed
from mmx.config.launch import run_jobs
from mmx.experiment import assemble
from mmx.runs import gains_page, sweep
from mmx.runs.gains import gains
from mmx.runs.sweep import Sweep
from mmx.terminal import Console
from mmx.verbs.preflight import Job
from mmx.verbs.train_single import run_one, say_failure

LOG_WIDTH = 160
"""Columns of a table that goes to a pipe or log."""


@dataclass
class SweepJob:
    """One job of a sweep; a class, so that a parallel launcher can send it to a worker."""

    sweep: Sweep
    allowed: Sequence[str]

    def __call__(self, composed: Composed) -> None:
        """Run the job unless the sweep has it already."""
        experiment = assemble(composed.config, self.allowed)
        console = Console(stderr=True)
        label = " ".join(composed.overrides)
        with self.sweep.claim(experiment.fingerprint) as done:
            if done is not None:
                console.print(f"skipped {label}: done in {done}", markup=False, soft_wrap=True)
                return
            console.print(f"job {label}", style="bold", markup=False, soft_wrap=True)
            directory, outcome = run_one(composed, self.allowed, self.sweep.runs, None)
        if outcome["status"] != "done":
            say_failure(console, directory, outcome)
        if outcome["status"] == "interrupted":
            sys.exit(int(str(outcome["exit_code"])))


def run_sweep(found: Sequence[Job], allowed: Sequence[str], where: Path | None) -> int:
    """Run the jobs that are not done yet and return the exit code.

    Args:
        found: The jobs of a command line, checked.
        allowed: Packages whose classes configs may name.
        where: The sweep's directory, if the user named one.
    """
    jobs = [(" ".join(job.composed.overrides), job.experiment.fingerprint) for job in found]
    plan = sweep.plan(Path(found[0].experiment.settings.output_dir), jobs, where)
    stopped: int | None = None
    try:
        run_jobs(SweepJob(plan, allowed), [job.composed for job in found])
    except SystemExit as error:
        stopped = error.code if isinstance(error.code, int) and error.code > 2 else None
    rows = plan.rows()
    plan.write_summary(rows)
    console = Console(stderr=True)
    console.width = console.width if console.is_terminal else LOG_WIDTH
    for table in sweep.tables(rows):
        console.print(table)
    _say_gains(console, plan, rows)
    failures = [row for row in rows if row["status"] != "done"]
    for text in _unfinished(failures):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    print(plan.path)
    if stopped is not None:
        return stopped
    return 1 if failures else 0


def _unfinished(rows: Sequence[dict[str, object]]) -> Iterator[str]:
    """Yield what became of each job that is not done, those that were never begun as one line."""
    begun = [row for row in rows if row["run"]]
    for row in begun:
        why = f": {row['error']}" if row["error"] else ""
        yield f"{row['status']}: {row['job']}{why} ({row['run']})"
    if waiting := len(rows) - len(begun):
        jobs = "1 job" if waiting == 1 else f"{waiting} jobs"
        yield f"not started: {jobs}; the same command goes on with what is not done"


def _say_gains(console: Console, plan: Sweep, rows: Sequence[dict[str, object]]) -> None:
    """Print and write what the finished runs gain, group by group."""
    paths = {
        group: [Path(str(row["run"])) for row in members]
        for group, members in sweep.groups(rows).items()
    }
    found = gains(paths)
    if not found.found:
        return
    gains_page.write(plan.path, found)
    console.print(gains_page.table(found))
    for text in gains_page.notes(found):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
