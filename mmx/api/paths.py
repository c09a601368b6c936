"""Paths that calls are given."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from mmx.errors import UsageError
from mmx.untrusted import unusable_path


def read_path(path: str | PathLike[str]) -> Path:
    """Return a path that the system can handle, with ``~`` as the user's folder.

    Raises:
        UsageError: It cannot.
    """
    if not isinstance(path, str | PathLike):
        raise UsageError(f"a path is expected, not {type(path).__name__}")
    if reason := unusable_path(Path(path)):
        raise UsageError(f"{path} {reason}")
    return Path(path).expanduser()
