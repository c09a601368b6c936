"""Composing and running one experiment."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from mmx.api.run import Run
from mmx.errors import BUDGET_USED, Interrupted, RunError, UsageError
from mmx.json_object import Json

if TYPE_CHECKING:
    from mmx.execution import RunOutcome
    from mmx.runs.directory import RunDirectory
    from mmx.verbs.preflight import Job
    from mmx.verbs.train_line import CommandLine


def compose(
    *overrides: str,
    experiment: str | None = None,
    allow: Sequence[str] = (),
    config_dirs: Sequence[str | PathLike[str]] = (),
) -> Json:
    """Return the resolved config that ``mmx train`` would run, as plain data, and check it.

    Args:
        overrides: As on the command line, such as ``"fusion=gated"``.
        experiment: The same as the override ``experiment=…``.
        allow: Packages whose classes the config may name, as ``--allow``.
        config_dirs: Folders of YAML of one's own, as ``--config-dir``.

    Example:
        >>> import mmx
        >>> config = mmx.compose("source=none", "target=digits", "trainer.epochs=3")
        >>> config["trainer"]["epochs"]
        3

    Raises:
        ConfigError: Everything that is wrong with the config.
        UsageError: The overrides are a sweep, or have a flag among them.
    """
    line = _make_line(overrides, experiment, allow, config_dirs)
    _, job = _check(line)
    return copy.deepcopy(dict(job.experiment.config))


def train(
    *overrides: str,
    experiment: str | None = None,
    allow: Sequence[str] = (),
    config_dirs: Sequence[str | PathLike[str]] = (),
) -> Run:
    """Run one experiment as ``mmx train`` does, in a new run directory, and return the run.

    Progress is shown on stderr. For a sweep, call it in a loop, or use ``mmx train -m``.

    Args:
        overrides: As on the command line, such as ``"fusion=gated"``.
        experiment: The same as the override ``experiment=…``.
        allow: Packages whose classes the config may name, as ``--allow``.
        config_dirs: Folders of YAML of one's own, as ``--config-dir``.

    Example::

        runs = [mmx.train("target=digits_av", f"seed={seed}") for seed in (1, 2, 3)]
        [run.summary.gain.value for run in runs]

    Raises:
        ConfigError: Everything that is wrong with the config, before anything runs.
        UsageError: The overrides are a sweep, or have a flag among them.
        Interrupted: Ctrl-C or SIGTERM stopped it; ``mmx resume`` continues it.
        RunError: The run failed; ``traceback.txt`` in its directory says where.
    """
    line = _make_line(overrides, experiment, allow, config_dirs)
    where, job = _check(line)
    from mmx.verbs.preflight import require_devices
    from mmx.verbs.train_single import start_run

    require_devices([job])
    argv = ["mmx", "train"]
    argv += [word for name in line.allow for word in ("--allow", name)]
    argv += [word for path in line.config_dirs for word in ("--config-dir", str(path))]
    argv += line.overrides
    directory, outcome = start_run(job.composed, job.experiment, None, where, argv)
    if outcome["status"] != "done":
        raise _make_error(directory, outcome)
    return Run(directory, {}, allow)


def _make_line(
    overrides: Sequence[str],
    experiment: str | None,
    allow: Sequence[str],
    config_dirs: Sequence[str | PathLike[str]],
) -> CommandLine:
    """Return the command line of ``mmx train`` that a call stands for.

    Raises:
        UsageError: Something is no override.
    """
    from mmx.verbs.train_line import CommandLine

    if isinstance(allow, str) or isinstance(config_dirs, str | PathLike):
        raise UsageError("allow and config_dirs are lists", tip="allow=['my_package']")
    for word in overrides:
        if isinstance(word, dict):  # as mmx.compose returns it
            raise UsageError(
                "an override is text, not a config", tip="the words that mmx.compose was given"
            )
        if not isinstance(word, str):
            raise UsageError(f"an override is text, not {word!r}", tip="'seed=1'")
        if word.startswith("-"):
            raise UsageError(
                f"{word} is a flag of the command line; from Python, overrides are key=value",
                tip="allow=['my_package'] and config_dirs=['my_configs'] are arguments",
            )
    chosen = [] if experiment is None else [f"experiment={experiment}"]
    return CommandLine(
        overrides=[*chosen, *overrides],
        allow=list(allow),
        config_dirs=[Path(path) for path in config_dirs],
    )


def _check(line: CommandLine) -> tuple[Path | None, Job]:
    """Return the run directory that a line names, and its only job, checked.

    Raises:
        ConfigError: Everything that is wrong with it.
        UsageError: It is a sweep.
    """
    from mmx.verbs.arguments import list_allowed_packages
    from mmx.verbs.train_checked import check_line
    from mmx.verbs.train_expand import expand, has_sweep

    if has_sweep(line) or (line := expand(line)).multirun:
        raise UsageError(
            "the overrides are a sweep, and a call from Python runs one experiment",
            tip="[mmx.train(f'seed={seed}') for seed in (1, 2, 3)]",
        )
    where, jobs = check_line(line, list_allowed_packages(line.allow))
    return where, jobs[0]


def _make_error(directory: RunDirectory, outcome: RunOutcome) -> RunError | Interrupted:
    """Return the error of a run that has ended early, with what to do next."""
    text = f"{outcome['status']}: {outcome['error']}"
    if outcome["status"] == "interrupted":
        code = outcome["exit_code"]
        number = None if code == BUDGET_USED else code - 128
        return Interrupted(text, signal_number=number, tip=f"mmx resume {directory.path}")
    if outcome.get("expected"):  # the text has its own tip
        return RunError(f"{directory.path}\n{text}")
    return RunError(text, tip=f"the traceback is in {directory.path}/traceback.txt")
