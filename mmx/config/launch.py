"""One job or a sweep through Hydra's own entry point: launchers, ``--cfg``, ``--info``."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from mmx.config.check import check
from mmx.config.compose import ROOT, Composed, composer, parse, plain, register
from mmx.config.locate import builtin_directory
from mmx.errors import ConfigError, Problem

CONFIG_FLAGS = ("--cfg", "-c")


class Job:
    """Hydra's task function around ours: composed config in, nothing out.

    Args:
        task: What to do with each job's config.
        extra: The user's config directories, which a worker process must learn again.

    Attributes:
        error: What a single job raised; Hydra would print it its own way, and exit.
    """

    def __init__(self, task: Callable[[Composed], None], extra: Sequence[Path]) -> None:
        self.task, self.extra = task, tuple(extra)
        self.error: Exception | None = None
        self.__name__ = "mmx"

    def __call__(self, config: DictConfig) -> None:
        """Hand one job over as plain data."""
        state = HydraConfig.get()
        choices = {str(key): str(value) for key, value in state.runtime.choices.items()}
        try:
            self.task(plain(config, choices, list(state.overrides.task)))
        except Exception as error:
            if state.mode != RunMode.RUN:
                raise
            self.error = error


def launch(
    task: Callable[[Composed], None],
    flags: Sequence[str],
    overrides: Sequence[str],
    extra: Sequence[Path] = (),
) -> None:
    """Run Hydra's main with these arguments.

    Hydra's output folders are temporary: mmx makes its own run directories.

    Raises:
        ConfigError: A config that is only to be shown cannot be composed.
    """
    if any(flag.partition("=")[0] in (*CONFIG_FLAGS, "--info", "-i") for flag in flags):
        _check(overrides, extra)
    register(() if "--hydra-help" in flags else extra)
    scratch = Path(tempfile.mkdtemp(prefix="mmx-hydra-"))
    before = sys.argv
    places = [f"hydra.run.dir={scratch}", f"hydra.sweep.dir={scratch}"]
    sys.argv = [
        "mmx",
        *overrides,
        *places,
        *_with_values(flags),
    ]  # last, or a bare --info eats an override
    try:
        decorate = hydra.main(
            version_base="1.3", config_path=str(builtin_directory()), config_name=ROOT
        )
        job = Job(task, extra)
        decorate(job)()
        if job.error is not None:
            raise job.error
    finally:
        sys.argv = before
        shutil.rmtree(scratch, ignore_errors=True)


def _with_values(flags: Sequence[str]) -> list[str]:
    """Return the flags, with ``job`` for a ``--cfg`` that does not say what."""
    following = [*flags[1:], "-"]
    return (
        [
            "--cfg=job" if flag in CONFIG_FLAGS and after.startswith("-") else flag
            for flag, after in zip(flags, following, strict=True)
        ]
        if flags
        else []
    )


def _check(overrides: Sequence[str], extra: Sequence[Path]) -> None:
    """Word what is wrong with a config that is only to be shown, before Hydra does."""
    with composer(extra):
        parsed = parse(overrides)
        problems = [
            Problem(text, "gives several values, and one config is shown")
            for each, text in zip(parsed, overrides, strict=True)
            if each.is_sweep_override()
        ]
        if not problems:
            _, problems = check(parsed, overrides, extra)
    if problems:
        raise ConfigError(problems)
