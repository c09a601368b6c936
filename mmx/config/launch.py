"""One job or a sweep through Hydra's own entry point: launchers, ``--cfg``, ``--info``."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mmx.config.compose import ROOT, Composed, plain, register
from mmx.config.locate import builtin_directory


class Job:
    """Hydra's task function around ours: composed config in, nothing out.

    Args:
        task: What to do with each job's config.
        extra: The user's config directories, which a worker process must learn again.
    """

    def __init__(self, task: Callable[[Composed], None], extra: Sequence[Path]) -> None:
        self.task, self.extra = task, tuple(extra)
        self.__name__ = "mmx"

    def __call__(self, config: DictConfig) -> None:
        """Hand one job over as plain data."""
        state = HydraConfig.get()
        choices = {str(key): str(value) for key, value in state.runtime.choices.items()}
        self.task(plain(config, choices, list(state.overrides.task)))


def launch(
    task: Callable[[Composed], None],
    flags: Sequence[str],
    overrides: Sequence[str],
    extra: Sequence[Path] = (),
) -> None:
    """Run Hydra's main with these arguments.

    Hydra's output folders are temporary: mmx makes its own run directories.
    """
    register(extra)
    scratch = Path(tempfile.mkdtemp(prefix="mmx-hydra-"))
    before = sys.argv
    sys.argv = ["mmx", *flags, *overrides, f"hydra.run.dir={scratch}", f"hydra.sweep.dir={scratch}"]
    try:
        decorate = hydra.main(
            version_base="1.3", config_path=str(builtin_directory()), config_name=ROOT
        )
        decorate(Job(task, extra))()
    finally:
        sys.argv = before
        shutil.rmtree(scratch, ignore_errors=True)
