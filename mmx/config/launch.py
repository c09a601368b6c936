"""Jobs on a launcher, and what Hydra shows of a config: ``--cfg``, ``--info``.

No job runs under a ``hydra`` node that a user's folder contributed to. mmx has composed and checked
all jobs before the first one starts; here they run one after the other, or on a launcher of Hydra
that is configured by mmx's own root config. A launcher's workers receive plain data.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import hydra
from hydra import compose as hydra_compose
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig

from mmx.config.allowed import hide_guarded
from mmx.config.commented import add_comments, collect_comments
from mmx.config.compose import composer, parse
from mmx.config.composed import Composed
from mmx.config.hydra_node import DIRECTORY_KEYS, Launcher, is_hydra_key
from mmx.config.locate import builtin_directory
from mmx.config.override_problems import check_overrides
from mmx.config.sources import ROOT, register
from mmx.errors import ConfigError, Problem
from mmx.quoting import format_value

CONFIG_FLAGS = ("--cfg", "-c")
RunJob = Callable[[Composed], None]


def run_jobs(
    run_job: RunJob, jobs: Sequence[Composed], here: Sequence[Callable[[], None]] = ()
) -> None:
    """Run every job on the launcher that they name; afterwards raise the first error, if any.

    Args:
        run_job: Runs a job from its config. A launcher may send it to another process.
        jobs: Their configs.
        here: Replaces ``run_job``, one function for each job, where jobs run in this process.

    Raises:
        ConfigError: They name different launchers.
    """
    launcher = find_launcher_of_all(jobs)
    if launcher.name != "basic":
        errors = _launch(run_job, jobs, launcher)
    else:
        errors = []
        for run in here or [partial(run_job, job) for job in jobs]:
            try:
                run()
            except Exception as error:  # the other jobs run all the same
                errors.append(error)
    for found in filter(None, errors):
        raise found


def find_launcher_of_all(jobs: Sequence[Composed]) -> Launcher:
    """Return the launcher of a sweep. Raises ConfigError where its jobs name different ones."""
    launchers = [job.launcher for job in jobs]
    if any(each != launchers[0] for each in launchers):
        reason = "is another for each job, and a sweep has one"
        raise ConfigError([Problem("hydra/launcher", reason, type_this="hydra/launcher=basic")])
    return launchers[0]


@dataclass(frozen=True)
class _FromFile:
    """Hydra's task function: receives the number of a job as ``seed``, and reads its config.

    Attributes:
        run_job: Runs a job from its config.
        folder: Contains the configs, one file for each job.
    """

    run_job: RunJob
    folder: Path

    def __call__(self, config: DictConfig) -> Exception | None:
        """Run one job."""
        text = (self.folder / f"{config.seed}.yaml").read_text(encoding="utf-8")
        try:
            self.run_job(Composed.from_yaml(text))
        except Exception as error:
            return error
        return None


def _launch(
    run_job: RunJob, jobs: Sequence[Composed], launcher: Launcher
) -> list[Exception | None]:
    """Run the jobs on a launcher of Hydra, passing each its number as the override ``seed``."""
    scratch = Path(tempfile.mkdtemp(prefix="mmx-jobs-"))
    options = [
        f"hydra.launcher.{key}={format_value(value)}" for key, value in launcher.options.items()
    ]
    overrides = [f"hydra/launcher={launcher.name}", *options, f"hydra.sweep.dir={scratch}"]
    try:
        for number, job in enumerate(jobs):
            (scratch / f"{number}.yaml").write_text(job.to_yaml(), encoding="utf-8")
        with composer():
            context = HydraContext(
                config_loader=GlobalHydra.instance().config_loader(), callbacks=Callbacks()
            )
            plugin = Plugins.instance().instantiate_launcher(
                hydra_context=context,
                task_function=_FromFile(run_job, scratch),
                config=hydra_compose(ROOT, overrides=overrides, return_hydra_config=True),
            )
            with hide_guarded():
                done = plugin.launch([[f"seed={number}"] for number in range(len(jobs))], 0)
        return [each.return_value for each in done]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def show_config(flags: Sequence[str], overrides: Sequence[str], extra: Sequence[Path] = ()) -> None:
    """Print a config with comments, or what Hydra knows, by Hydra's own main function; run no job.

    Args:
        flags: Hydra's flags.
        overrides: As typed.
        extra: The user's config directories.

    Raises:
        ConfigError: A config that is to be shown cannot be composed.
    """
    shows_hydra = "--hydra-help" in flags
    comments: dict[str, str] = {}
    given = [text for text in overrides if text.partition("=")[0] not in DIRECTORY_KEYS]
    if not shows_hydra:
        composed = _check(given, extra)
        given = [*filter(is_hydra_key, given), *composed.overrides]
        comments = collect_comments(composed, extra)
    register(() if shows_hydra else extra)
    before = sys.argv
    words = [] if shows_hydra else given
    # Flags come last: a bare --info would take an override as its value.
    sys.argv = ["mmx", *words, *_complete_flags(flags)]
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            hydra.main(version_base="1.3", config_path=str(builtin_directory()), config_name=ROOT)(
                _run_nothing
            )()
    finally:
        sys.argv = before
        register()
        is_config = any(flag.partition("=")[0] in CONFIG_FLAGS for flag in flags)
        text = shown.getvalue()
        sys.stdout.write(add_comments(text, comments) if is_config else text)


def _run_nothing(config: DictConfig) -> None:
    """Do nothing: Hydra prints the config and does not call this function."""


def _complete_flags(flags: Sequence[str]) -> list[str]:
    """Return the flags, with ``job`` for a ``--cfg`` without a value."""
    following = [*flags[1:], "-"]
    return (
        [
            "--cfg=job" if flag in CONFIG_FLAGS and after.startswith("-") else flag
            for flag, after in zip(flags, following, strict=True)
        ]
        if flags
        else []
    )


def _check(overrides: Sequence[str], extra: Sequence[Path]) -> Composed:
    """Return a config that is only shown, checked so that errors are in mmx's words.

    Raises:
        ConfigError: It cannot be composed.
    """
    with composer(extra):
        parsed = parse(overrides)
        problems = [
            Problem(text, "gives several values, and one config is shown")
            for each, text in zip(parsed, overrides, strict=True)
            if each.is_sweep_override()
        ]
        if problems:
            raise ConfigError(problems)
        composed, problems = check_overrides(parsed, overrides, extra)
    if problems:
        raise ConfigError(problems)
    return composed
