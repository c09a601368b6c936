"""``mmx train``: check everything, then run one experiment or a sweep of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from mmx import execution
from mmx.config import check, compose
from mmx.config.compose import Composed
from mmx.config.launch import launch
from mmx.errors import ConfigError, Problem, UsageError
from mmx.experiment import Experiment, assemble
from mmx.runs import answer, sweep
from mmx.runs.directory import RunDirectory
from mmx.runs.sweep import Sweep
from mmx.runs.view import view
from mmx.verbs.arguments import allowed_packages

LOG_WIDTH = 160
"""Columns of a table that goes to a pipe or log."""
STRICT = ("encoder.", "transfer")
"""Where an override that no job reads is a mistake; elsewhere the run notes it."""


@dataclass
class Line:
    """A command line of ``train``, sorted: flags and overrides may come in any order."""

    overrides: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    config_dirs: list[Path] = field(default_factory=list)
    allow: list[str] = field(default_factory=list)
    multirun: bool = False
    only_shows: bool = False


def read_line(arguments: Sequence[str]) -> Line:
    """Sort a command line. Raises UsageError for a flag that does not exist."""
    line, rest = Line(), list(arguments)
    while rest:
        word = rest.pop(0)
        flag, glued, value = word.partition("=")
        if not word.startswith("-"):
            line.overrides.append(word)
        elif word in ("-m", "--multirun"):
            line.multirun = True
        elif flag in ("--config-dir", "-cd", "--allow"):
            if not glued:
                if not rest:
                    raise UsageError(f"{flag} needs a value")
                value = rest.pop(0)
            if flag == "--allow":
                line.allow.append(value)
            else:
                line.config_dirs.append(Path(value))
        elif flag in ("--cfg", "-c", "--info", "-i", "--package", "-p"):
            line.flags.append(word)
            line.only_shows = True
            if not glued and rest and "=" not in rest[0] and not rest[0].startswith("-"):
                line.flags.append(rest.pop(0))
        elif word in ("--resolve", "--hydra-help"):
            line.flags.append(word)
            line.only_shows = line.only_shows or word == "--hydra-help"
        else:
            raise UsageError(
                f"mmx train has no flag {word}",
                tip="mmx train --help lists the flags; a setting is written key=value",
            )
    return line


def main(arguments: Sequence[str]) -> int:
    """Train, and return the exit code."""
    line = read_line(arguments)
    allowed = allowed_packages(line.allow)
    if line.only_shows:
        launch(_show_only, line.flags, line.overrides, line.config_dirs)
        return 0
    where, overrides = _take(
        line.overrides, "hydra.sweep.dir" if line.multirun else "hydra.run.dir"
    )
    line.overrides = overrides
    experiments = preflight(line, allowed)
    if line.multirun:
        return _sweep(line, experiments, allowed, where)
    return _single(line, allowed, where)


def _show_only(composed: Composed) -> None:
    """Do nothing: Hydra has printed the config instead of running it."""


def _take(overrides: Sequence[str], key: str) -> tuple[Path | None, list[str]]:
    """Return the path given for a Hydra key, and the overrides without it."""
    given = [text for text in overrides if text.startswith(f"{key}=")]
    kept = [text for text in overrides if text not in given]
    return (Path(given[-1].split("=", 1)[1].strip("'\"")) if given else None), kept


def preflight(line: Line, allowed: Sequence[str]) -> list[tuple[list[str], Composed, Experiment]]:
    """Compose and build every job before any of them runs.

    Raises:
        ConfigError: Everything that is wrong with any job.
    """
    problems: list[Problem] = []
    found: list[tuple[list[str], Composed, Experiment]] = []
    with compose.composer(line.config_dirs):
        parsed = compose.parse(line.overrides)
        jobs = compose.jobs(parsed) if line.multirun else [line.overrides]
        if not line.multirun:
            problems.extend(_sweep_without_flag(parsed, line.overrides))
            sweeping = {problem.given for problem in problems}
            jobs = [[text for text in line.overrides if text not in sweeping]]
        for job in jobs:
            composed, wrong = check.check(compose.parse(job), job, line.config_dirs)
            problems.extend(wrong)
            try:
                found.append((job, composed, assemble(composed.config, allowed)))
            except ConfigError as error:
                problems.extend(check.without_echoes(error.problems, composed.unresolved))
    problems.extend(_unread(found, problems))
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return found


def _sweep_without_flag(parsed: Sequence[object], texts: Sequence[str]) -> list[Problem]:
    return [
        Problem(text, "gives several values, and this is one run", type_this=f"-m {text}")
        for override, text in zip(parsed, texts, strict=True)
        if override.is_sweep_override()  # type: ignore[attr-defined]
    ]


def _unread(
    found: Sequence[tuple[list[str], Composed, Experiment]], before: Sequence[Problem]
) -> list[Problem]:
    """Return the overrides that no job reads, with why."""
    if before or not found:
        return []
    reasons: dict[str, list[str]] = {}
    for job, _, experiment in found:
        for text in job:
            key = text.lstrip("+~").split("=", 1)[0].replace("/", ".")
            for dropped, why in experiment.dropped.items():
                if (key == dropped or key.startswith(f"{dropped}.")) and key.startswith(STRICT):
                    reasons.setdefault(text, []).append(why)
    return [
        Problem(text, f"no code reads this: {why[0]}", type_this=f"leave out {text}")
        for text, why in reasons.items()
        if len(why) == sum(text in job for job, _, _ in found) and not _sibling_is_read(text, found)
    ]


def _sibling_is_read(text: str, found: Sequence[tuple[list[str], Composed, Experiment]]) -> bool:
    """Return whether the same key is read, with another value or beside another task."""
    key = text.split("=", 1)[0]
    path = key.lstrip("+~").replace("/", ".")
    return any(
        any(other.split("=", 1)[0] == key for other in job)
        and not any(path == d or path.startswith(f"{d}.") for d in experiment.dropped)
        for job, _, experiment in found
    )


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


def _single(line: Line, allowed: Sequence[str], exactly: Path | None) -> int:
    ended: list[tuple[RunDirectory, dict[str, object]]] = []

    def job(composed: Composed) -> None:
        ended.append(run_one(composed, allowed, None, exactly))

    launch(job, line.flags, line.overrides, line.config_dirs)
    return conclude(*ended[0])


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


def _sweep(
    line: Line,
    found: Sequence[tuple[list[str], Composed, Experiment]],
    allowed: Sequence[str],
    where: Path | None,
) -> int:
    jobs = [(" ".join(job), experiment.fingerprint) for job, _, experiment in found]
    plan = sweep.plan(Path(found[0][2].settings.output_dir), jobs, where)
    stopped: int | None = None
    try:
        launch(
            SweepJob(plan, allowed), ["--multirun", *line.flags], line.overrides, line.config_dirs
        )
    except SystemExit as error:
        stopped = error.code if isinstance(error.code, int) and error.code > 2 else None
    rows = plan.rows()
    plan.write_summary(rows)
    console = Console(stderr=True)
    console.width = console.width if console.is_terminal else LOG_WIDTH
    for table in sweep.tables(rows):
        console.print(table)
    failures = [row for row in rows if row["status"] != "done"]
    for row in failures:
        console.print(
            f"{row['status']}: {row['job']}: {row['error']} ({row['run'] or 'no run directory'})",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    print(plan.path)
    if stopped is not None:
        return stopped
    return 1 if failures else 0
