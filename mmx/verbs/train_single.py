"""One run: its directory, its view, and what is said when it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmx import execution
from mmx.config.compose import Composed
from mmx.experiment import assemble
from mmx.runs import answer
from mmx.runs.directory import RunDirectory
from mmx.runs.view import view
from mmx.terminal import Console
from mmx.verbs.preflight import Job


def run_one(
    composed: Composed, allowed: Sequence[str], where: Path | None, exactly: Path | None
) -> tuple[RunDirectory, dict[str, object]]:
    """Make a run directory for a composed config, and run it there."""
    experiment = assemble(composed.config, allowed)
    directory = execution.create(
        experiment,
        where or Path(experiment.settings.output_dir) / "runs",
        choices=composed.choices,
        overrides=composed.overrides,
        unresolved=composed.unresolved,
        exactly=exactly,
    )
    with view() as listen:
        outcome = execution.execute(experiment, directory, listen)
    return directory, outcome


def conclude(directory: RunDirectory, outcome: dict[str, object]) -> int:
    """Print the answer on stderr and the run directory on stdout; return the exit code."""
    console = Console(stderr=True)
    if outcome["status"] == "done":
        answer.show(console, directory.summary())
    else:
        say_failure(console, directory, outcome)
    print(directory.path)
    return int(str(outcome["exit_code"]))


def say_failure(console: Console, directory: RunDirectory, outcome: dict[str, object]) -> None:
    """Print why a run ended early and what to type next."""
    tips = {
        "interrupted": f"mmx resume {directory.path}",
        "failed": f"the traceback is in {directory.path}/traceback.txt",
    }
    tip = tips[str(outcome["status"])]
    text = f"{outcome['status']}: {outcome['error']}"
    if not (outcome["status"] == "failed" and outcome.get("expected")):
        text += f"\n  tip: {tip}"
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def run_single(job: Job, allowed: Sequence[str], exactly: Path | None) -> int:
    """Run the one job of a command line and return the exit code."""
    return conclude(*run_one(job.composed, allowed, None, exactly))
