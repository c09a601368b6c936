"""A command line of ``mmx train``: all of it is checked, then one experiment or a sweep is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmx.config.clashes import describe_namesakes
from mmx.config.launch import show_config
from mmx.errors import ConfigError, Problem, UsageError
from mmx.experiment.budget import find_end, read_budget
from mmx.ranks import torchrun
from mmx.terminal import Console
from mmx.untrusted import unusable_path
from mmx.verbs.arguments import list_allowed_packages
from mmx.verbs.preflight import Job, preflight, require_devices, require_processes_of_all
from mmx.verbs.train_expand import expand
from mmx.verbs.train_line import CommandLine, parse_line
from mmx.verbs.train_single import conclude, start_run

if TYPE_CHECKING:
    from mmx.verbs.sweep_line import Continuation


def run_line(
    arguments: Sequence[str],
    argv: Sequence[str],
    again: Continuation | None = None,
) -> int:
    """Run a command line, and return the exit code.

    Args:
        arguments: Those of ``mmx train``.
        argv: The command line as it is recorded.
        again: The sweep that goes on by this line; None for a line that was typed.
    """
    line = parse_line(arguments)
    allowed = list_allowed_packages(line.allow)
    if line.only_shows:
        show_config(line.flags, line.overrides, line.config_dirs)
        return 0
    from mmx.workers.free_cores import CoreTimes, take_free_threads  # imports torch

    before = CoreTimes.read()
    line = take_processes(expand(line))
    refuse_jobs_of_one_run(line)
    where, jobs = check_line(line, allowed)
    _print_notes(list_option_notes(jobs, line.config_dirs))
    where = where if again is None else again.path
    until = find_end(find_budget(jobs))
    here = jobs[0].composed.launcher.name == "basic"  # jobs run on this machine
    if here:
        require_processes_of_all(jobs)
    if line.dry_run:
        from mmx.verbs.train_dry_run import show_dry_run  # reads runs: slow to import

        return show_dry_run(jobs, where, multirun=line.multirun)
    if here:
        require_devices(jobs)
    if line.multirun:
        from mmx.verbs.train_sweep import run_sweep  # reads and draws all reports: slow to import

        ended = run_sweep(jobs, allowed, where, argv, line.config_dirs, until=until, again=again)
        print(ended.path)
        return ended.code
    job = jobs[0]
    if job.experiment.settings.processes == 1:  # others divide the cores among themselves
        _print_notes([take_free_threads(job.experiment.trainer.threads, before)])
    directory, outcome = start_run(job.composed, job.experiment, None, where, argv, until=until)
    return conclude(directory, outcome, argv)


def _print_notes(notes: Sequence[str]) -> None:
    """Print what is to be known of a line; nothing of an empty text."""
    for text in filter(None, notes):
        Console(stderr=True).print(f"note: {text}", highlight=False, soft_wrap=True)


def list_option_notes(found: Sequence[Job], extra: Sequence[Path]) -> list[str]:
    """Return what is to be known of the options of a command line, each note once."""
    return [*{note: None for job in found for note in describe_namesakes(job.composed, extra)}]


def find_budget(found: Sequence[Job]) -> str | float | None:
    """Return ``budget`` of a command line, which is one for all of it. Raises ConfigError."""
    given = [job.composed.config.get("budget") for job in found]
    for each in dict.fromkeys(given):
        read_budget(each)
    if any(each != given[0] for each in given):
        text = f"budget={','.join(map(str, dict.fromkeys(given)))}"
        reason = "is the time of the whole sweep, which has one"
        raise ConfigError([Problem(text, reason, type_this=f"budget={given[0]}")])
    return given[0]


def check_line(line: CommandLine, allowed: Sequence[str]) -> tuple[Path | None, list[Job]]:
    """Return the directory that an expanded line names for its run or sweep, and its jobs, checked.

    Raises:
        ConfigError: Everything that is wrong with any job.
    """
    key = "hydra.sweep.dir" if line.multirun else "hydra.run.dir"
    where, overrides = take_path(line.overrides, key)
    return where, preflight(replace(line, overrides=overrides), allowed)


def take_processes(line: CommandLine) -> CommandLine:
    """Return the line with as many processes as torchrun has started, if it has.

    Raises:
        UsageError: It is the line of a sweep.
    """
    size = torchrun.find_size()
    if size == 1:
        return line
    if line.multirun:
        raise UsageError(
            "torchrun starts the processes of one run, and this is a sweep",
            tip=f"mmx train -m processes={size} …   (without torchrun)",
        )
    given = any(text.partition("=")[0] == "processes" for text in line.overrides)
    return line if given else replace(line, overrides=[*line.overrides, f"processes={size}"])


def refuse_jobs_of_one_run(line: CommandLine) -> None:
    """Refuse ``jobs`` where there is no sweep. Raises ConfigError."""
    given = [text for text in line.overrides if text.partition("=")[0] == "jobs"]
    if given and not line.multirun:
        reason = "is how many jobs of a sweep run at the same time, and this is one run"
        raise ConfigError([Problem(given[-1], reason, type_this=f"-m {given[-1]} seed=1,2")])


def take_path(overrides: Sequence[str], key: str) -> tuple[Path | None, list[str]]:
    """Return the path that a Hydra key is set to, and the overrides without that key."""
    given = [text for text in overrides if text.startswith(f"{key}=")]
    kept = [text for text in overrides if text not in given]
    if given and "${" in given[-1]:
        reason = "is a path, in which nothing is filled in"
        raise ConfigError([Problem(given[-1], reason, type_this=f"{key}=<directory>")])
    if not given:
        return None, kept
    path = given[-1].split("=", 1)[1].strip("'\"")
    if why := unusable_path(path):
        raise ConfigError([Problem(given[-1], why, type_this=f"{key}=<directory>")])
    return Path(path), kept
