"""``mmx rm RUN ...``: remove run directories, after a question.

What will go is shown with its status and size. On a terminal the answer ``y`` removes it;
elsewhere --yes is needed. A run that is being worked on, a folder that is no run and a link to
one are refused, and then nothing is removed.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from mmx.errors import MmxError, RunError, UsageError
from mmx.printable import one_line
from mmx.runs import index
from mmx.runs.atomic import require_file
from mmx.runs.cache import readable_bytes
from mmx.runs.directory import RunDirectory
from mmx.runs.index_entry import UNREADABLE
from mmx.verbs.arguments import Parser, read_run

SUMMARY = "remove run directories, after a question"
PLACE = 90

GONE = ".removed-"
"""Prefix of the name of a directory that is being removed; such names are not listed."""


def main(arguments: Sequence[str]) -> int:
    """Remove runs and return the exit code."""
    parser = Parser("rm", description=__doc__)
    parser.add_argument("runs", nargs="+", type=read_run, metavar="RUN", help="a run directory")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    given = parser.parse_args(arguments)
    paths = list(dict.fromkeys(Path(os.path.normpath(path.absolute())) for path in given.runs))
    found = [_open_removable(path) for path in paths]
    for directory in found:
        print(one_line(_describe(directory)), file=sys.stderr)
    if not given.yes and not _confirm(len(found), given.runs):
        print("nothing is removed", file=sys.stderr)
        return 1
    for directory in found:
        _remove(directory)
        print(directory.path)
    return 0


def _open_removable(path: Path) -> RunDirectory:
    """Return a run that may be removed.

    Raises:
        NoRunError: It is no run directory.
        RunError: It is reached by a link, or is being worked on.
    """
    if path.is_symlink():
        raise RunError(
            f"{path} is a symbolic link: what it leads to is not removed",
            tip=f"mmx rm {shlex.quote(str(path.resolve()))}",
        )
    directory = RunDirectory.open(path)
    if not (path / "status.json").exists() and not (path / "manifest.json").exists():
        raise RunError(f"{path} is no run directory: it has neither status.json nor manifest.json")
    if index.runs(path):
        raise RunError(f"{path} holds runs of its own, and is not removed")
    if _is_in_use(path):
        raise RunError(f"{path} is being worked on", tip="wait for it, or stop it")
    if (host := _find_other_host(directory)) is not None:
        raise RunError(
            f"{path} is running on {host}, as far as its status says",
            tip=f"rm -r {shlex.quote(str(path))}   (if it is not)",
        )
    return directory


def _is_in_use(path: Path) -> bool:
    """Return whether a process holds the run's lock, without creating a lock file."""
    lock = path / ".lock"
    try:
        require_file(lock)
    except RunError:
        return False
    if not lock.exists():
        return False
    try:
        with FileLock(str(lock), timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # another user's lock file
        return False


def _find_other_host(directory: RunDirectory) -> str | None:
    """Return the other machine on which a run may be running: its lock is not visible here."""
    try:
        status = directory.status()
    except MmxError:
        return None
    host = status.get("host")
    return host if status.get("status") == "running" and host != socket.gethostname() else None


def _describe(directory: RunDirectory) -> str:
    """Return one line on a run to be removed: status, size, files."""
    try:
        status = str(directory.status().get("status", UNREADABLE))
    except MmxError:
        status = UNREADABLE
    files = [Path(folder, name) for folder, _, names in os.walk(directory.path) for name in names]
    size = readable_bytes(sum(file.lstat().st_size for file in files))
    return f"{status:11s} {size:>9s} in {len(files)} files  {directory.path}"


def _confirm(count: int, runs: Sequence[Path]) -> bool:
    """Ask at the terminal, and return whether the answer is yes.

    Raises:
        UsageError: There is no terminal to ask at.
    """
    if not sys.stdin.isatty():
        words = shlex.join(["mmx", "rm", "--yes", *map(str, runs)])
        raise UsageError("there is no terminal to ask at, and nothing is removed", tip=words)
    what = "this run" if count == 1 else f"these {count} runs"
    print(f"remove {what}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _remove(directory: RunDirectory) -> None:
    """Rename a run's directory, then delete it, so that a kill leaves no half-deleted run listed.

    Raises:
        RunError: It cannot be removed.
    """
    path = directory.path
    gone = path.with_name(f"{GONE}{secrets.token_hex(4)}")
    try:
        path.rename(gone)
        shutil.rmtree(gone)
    except OSError as error:
        raise RunError(f"{path} cannot be removed: {error.strerror}") from error
    for old in path.parent.glob(f"{GONE}*"):  # left by a removal that was killed
        shutil.rmtree(old, ignore_errors=True)
    root = index.root_of(directory)
    if root is not None:
        index.forget(root, path)
