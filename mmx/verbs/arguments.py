"""What the smaller verbs share: parsing, allowed packages, opening a run."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mmx.errors import UsageError
from mmx.printable import shorten
from mmx.untrusted import unusable_path


class Parser(argparse.ArgumentParser):
    """An argparse parser with errors as mmx prints them: one line, exit code 2."""

    def __init__(self, verb: str, **settings: Any) -> None:
        super().__init__(
            prog=f"mmx {verb}", formatter_class=argparse.RawDescriptionHelpFormatter, **settings
        )
        self.register("type", Path, _read_path)
        self.add_argument("--debug", action="store_true", help="show tracebacks")

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """Add an argument; words of which there may be none are not said to be required."""
        if settings.get("nargs") == "*" and not str(names[0]).startswith("-"):
            settings.setdefault("default", [])
        return super().add_argument(*names, **settings)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse words and flags in any order: ``mmx list --sort accuracy target=stl10``."""
        return self.parse_intermixed_args(args, namespace)

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
            help="default: the run's, where this machine has it",
        )
        return self

    def with_run(self) -> Parser:
        """Add the run directory."""
        self.add_argument("run", type=read_run, metavar="RUN", help="a run, as a path or as listed")
        return self


def read_run(text: str) -> Path:
    """Return the directory of a run that is typed as a path, or as ``mmx list`` shows it."""
    from mmx.runs.directory import find_listed  # slow to import, and few words need it

    return find_listed(_read_path(text))


def _read_path(text: str) -> Path:
    """Return a typed path after checking that the system can handle it."""
    if reason := unusable_path(text):
        raise argparse.ArgumentTypeError(f"{shorten(text)} {reason}")
    return Path(text)


def list_allowed_packages(given: Sequence[str]) -> list[str]:
    """Return the packages that the user allowed, here or in the environment."""
    named = (name.strip() for name in os.environ.get("MMX_ALLOW", "").split(","))
    return [*given, *filter(None, named)]
