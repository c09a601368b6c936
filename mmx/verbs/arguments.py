"""What the smaller verbs share: parsing, allowed packages, opening a run."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mmx.errors import ConfigError, UsageError
from mmx.runs.directory import RunDirectory

if TYPE_CHECKING:
    import torch


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are ours: one line, exit 2."""

    def __init__(self, verb: str, **settings: Any) -> None:
        super().__init__(
            prog=f"mmx {verb}", formatter_class=argparse.RawDescriptionHelpFormatter, **settings
        )
        self.add_argument("--debug", action="store_true", help="show tracebacks")

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting."""
        raise UsageError(message, tip=f"{self.prog} --help")

    def with_allow(self) -> Parser:
        """Add ``--allow``."""
        self.add_argument(
            "--allow",
            action="append",
            default=[],
            metavar="PKG",
            help="let the config name classes of this package (also MMX_ALLOW=PKG,PKG)",
        )
        return self

    def with_device(self) -> Parser:
        """Add ``--device``."""
        self.add_argument(
            "--device",
            choices=("auto", "cpu", "cuda"),
            default=None,
            help="default: as the run says",
        )
        return self

    def with_run(self) -> Parser:
        """Add the run directory."""
        self.add_argument("run", type=Path, metavar="RUN", help="a run directory")
        return self


def allowed_packages(given: Sequence[str]) -> list[str]:
    """Return the user's allowed packages, and let them be found beside the working directory."""
    named = (name.strip() for name in os.environ.get("MMX_ALLOW", "").split(","))
    found = [*given, *filter(None, named)]
    if found and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return found


def device_of(given: str | None, of_run: str) -> torch.device:
    """Return the device that was asked for, else the run's own.

    Raises:
        UsageError: It is not there.
    """
    from mmx.training.precision import choose_device

    try:
        return choose_device(given or of_run)
    except ConfigError as error:
        who = "--device cuda" if given else "the run says device=cuda"
        raise UsageError(f"{who}: {error.problems[0].reason}", tip="--device cpu") from error


def keep_threads(directory: RunDirectory) -> None:
    """Compute with as many CPU threads as the run did: sums depend on how they are split."""
    import torch

    threads = directory.manifest().get("machine", {}).get("threads")
    if isinstance(threads, int) and threads > 0:
        torch.set_num_threads(threads)
