"""The states of files, by which what was read of them need not be read again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

SETTLED_NS = 2_000_000_000
"""A file that was changed more recently may change again within the same tick of its clock."""
FileState = tuple[int, int, int, int]
"""Number, size and times of a file, which change where its content does."""


def read_states(paths: Iterable[Path]) -> dict[Path, FileState] | None:
    """Return the state of each file; None where one is not there."""
    found: dict[Path, FileState] = {}
    try:
        for path in paths:
            stat = os.stat(path)  # noqa: PTH116 (of thousands of files)
            found[path] = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    except OSError:
        return None
    return found


def are_settled(states: dict[Path, FileState], began: int) -> bool:
    """Return whether another state will be seen wherever a file changes from now on.

    Args:
        states: Of the files, after they were read.
        began: When they were about to be read, in nanoseconds since 1970.
    """
    return all(max(state[2:]) < began - SETTLED_NS for state in states.values())
