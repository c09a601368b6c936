"""Which files a piece of code reads, as far as Python itself opens them."""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CODE = (".py", ".pyc", ".so", ".pyd", ".dll")
LIBRARIES = frozenset({"site-packages", "dist-packages"})
SYSTEM = ("/proc", "/sys", "/dev", "/etc")
WRITES = os.O_WRONLY | os.O_RDWR

_watched: list[set[tuple[str, bool]]] = []
"""What is open to be filled, each by one watcher; empty most of the time."""
_hooked: list[bool] = []


@contextlib.contextmanager
def watch_opened() -> Iterator[list[Path]]:
    """Yield a list that holds, afterwards, the files that were read: no code, no library's own.

    Files that C libraries open by themselves are not seen.
    """
    if not _hooked:  # a hook cannot be taken away again
        sys.addaudithook(_note)
        _hooked.append(True)
    seen: set[tuple[str, bool]] = set()
    found: list[Path] = []
    _watched.append(seen)
    try:
        yield found
    finally:
        _watched.remove(seen)
        written = {name for name, writes in seen if writes}
        read = {Path(name).resolve() for name, _ in seen if name not in written}
        found += sorted(path for path in read if path.is_file() and not _is_ignored(path))


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    """Remember a file that is opened, while anybody watches."""
    if event != "open" or not _watched:
        return
    path, _, flags = arguments
    if isinstance(path, int) or path is None:
        return
    for seen in _watched:
        place = str(Path(os.fsdecode(path)).absolute())  # the working directory may change
        seen.add((place, bool((flags or 0) & WRITES)))


def _is_ignored(path: Path) -> bool:
    """Return whether a file is code, the system's, or lies in an installed library."""
    places = (*SYSTEM, os.path.realpath(sysconfig.get_path("stdlib")))
    installed = not LIBRARIES.isdisjoint(path.parts)
    return path.suffix in CODE or installed or any(map(path.is_relative_to, places))
