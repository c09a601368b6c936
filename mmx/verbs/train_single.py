"""One run: its directory, its progress, and what is printed at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from mmx import execution
from mmx.config.composed import Composed
from mmx.experiment import Experiment, assemble
from mmx.reports import summary_lines
from mmx.reports.conclusion import conclude_run
from mmx.reports.next_command import Typed
from mmx.reports.view import open_view
from mmx.runs.directory import RunDirectory
from mmx.runs.ending import explain_full_disk
from mmx.runs.essence import WHERE_NOT_WHAT
from mmx.terminal import Console
from mmx.trackers import TOLD
from mmx.training.events import Listener

Watch = Callable[[], AbstractContextManager[Listener]]
"""Opens a view that is told a run's events."""


def start_run(
    composed: Composed,
    experiment: Experiment,
    where: Path | None,
    exactly: Path | None,
    argv: Sequence[str],
    watch: Watch = open_view,
    until: float | None = None,
) -> tuple[RunDirectory, execution.RunOutcome]:
    """Make a run directory for an experiment, and run it there.

    Args:
        composed: Its config, with choices and overrides.
        experiment: The experiment.
        where: Folder of runs; None for ``runs`` in its output folder.
        exactly: The directory to make, instead of a new one in a folder of runs.
        argv: The command line as it was typed.
        watch: Opens a view of the run's events.
        until: When its budget of time is used up, in seconds since 1970; None for no budget.

    Raises:
        RunError: There is no room for the directory, or it cannot be made.
    """
    folder = where or Path(experiment.settings.output_dir) / "runs"
    try:
        directory = execution.create(
            experiment,
            folder,
            choices=composed.choices,
            overrides=composed.overrides,
            unresolved=composed.unresolved,
            exactly=exactly,
            argv=argv,
        )
    except OSError as error:
        again = "type the same command again"
        raise explain_full_disk(error, exactly or folder, again) from error
    with watch() as listen:
        outcome = execution.execute(experiment, directory, listen, until=until)
    return directory, outcome


def continue_run(
    directory: RunDirectory,
    experiment: Experiment,
    argv: Sequence[str],
    watch: Watch = open_view,
    until: float | None = None,
) -> execution.RunOutcome:
    """Resume an interrupted run of the same experiment, in its directory.

    Args:
        directory: The run directory.
        experiment: As it was typed now.
        argv: The command line as it was typed.
        watch: Opens a view of the run's events.
        until: When its budget of time is used up, in seconds since 1970; None for no budget.
    """
    directory.require_plain_files(appends=True)
    if (directory.path / "config.auto.yaml").exists():  # a search has chosen its winner already
        own = (*WHERE_NOT_WHAT, *TOLD)
        typed = {key: experiment.config[key] for key in own if key in experiment.config}
        chosen = {key: value for key, value in directory.config().items() if key not in TOLD}
        settled = {**chosen, **typed}
        experiment = assemble(settled, experiment.allowed, directory.names())
    execution.record_resumption(directory, argv)
    with watch() as listen:
        return execution.execute(experiment, directory, listen, until=until)


def conclude(
    directory: RunDirectory, outcome: execution.RunOutcome, argv: Sequence[str] = ()
) -> int:
    """Print the answer on stderr and the run directory on stdout; return the exit code.

    Args:
        directory: The run directory.
        outcome: How the run ended.
        argv: The command line of ``mmx train``, from which what to try next follows.
    """
    console = Console(stderr=True)
    if outcome["status"] == "done":
        summary = directory.read_summary()
        summary_lines.show(console, summary)
        typed = Typed(argv, directory.config())
        for text in conclude_run(summary, typed) if argv else ():
            console.print(text, highlight=False, markup=False, soft_wrap=True)
    else:
        text = describe_failure(directory, outcome)
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    print(directory.path)
    return int(str(outcome["exit_code"]))


def describe_failure(directory: RunDirectory, outcome: execution.RunOutcome) -> str:
    """Return why a run ended early and what to type next."""
    tips = {
        "interrupted": f"mmx resume {directory.path}",
        "failed": f"the traceback is in {directory.path}/traceback.txt",
    }
    text = f"{outcome['status']}: {outcome['error']}"
    if outcome["status"] == "failed" and outcome.get("expected"):
        return text
    return f"{text}\n  tip: {tips[str(outcome['status'])]}"
