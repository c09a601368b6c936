"""Atomic writes: a file has its old content or the new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shlex
import stat
from pathlib import Path
from typing import Any

from mmx import untrusted
from mmx.errors import RunError, UnreadableFileError
from mmx.json_object import Json

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of writes that fail for lack of space."""
TYPE_AGAIN = "make room, then type the same command again"
KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
"""Kinds of what is not a regular file, with their names for people."""


def make_folder(path: Path, *, tip: str = "output_dir=<folder>   (where results go)") -> None:
    """Make a folder for results, and its parents.

    Raises:
        RunError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        tip = TYPE_AGAIN if error.errno in FULL else tip
        raise RunError(f"the folder {path} cannot be made: {error.strerror}", tip=tip) from error


def write_text(path: Path, text: str) -> None:
    """Replace a file's content, atomically and durably; after a failure it is unchanged.

    Raises:
        RunError: There is a link, a folder or a device in place of the file.
    """
    require_file(path)
    # In the same folder: a rename replaces at once only within one file system.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(2)}")
    try:
        with temporary.open("x", encoding="utf-8") as file:  # x never follows an existing link
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # before the rename, so that a crash leaves no empty file
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def append_text(path: Path, text: str) -> None:
    """Append to a file, which must not have a second name (a hard link).

    Raises:
        RunError: It has one, or there is a link, a folder or a device in place of the file.
    """
    require_file(path, one_name=True)
    # O_NOFOLLOW: a link may have been put in place of the file since it was checked.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with open(os.open(path, flags, 0o666), "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)


def require_file(path: Path, *, one_name: bool = False) -> None:
    """Refuse to write to something that is not a regular file, before it is opened.

    Args:
        path: Where to write; it may not exist yet.
        one_name: Refuse a file with a second name as well, since the other name would show what
            is appended.

    Raises:
        RunError: It is a link, a folder, a pipe or a device, or has a second name.
    """
    try:
        status = path.lstat()
    except OSError:  # it does not exist, or a parent cannot be read, which opening will report
        return
    if what := describe_special(status.st_mode):
        raise RunError(f"{path} is {what}: nothing is written to it")
    if one_name and status.st_nlink > 1:
        raise RunError(
            f"{path} is a file with {status.st_nlink} names (hard links): what is added to it "
            "would be added under each",
            tip=f"cp -r {shlex.quote(str(path.parent))} <copy>   (and work on the copy)",
        )


def describe_special(mode: int) -> str | None:
    """Return what kind of special file an ``st_mode`` stands for; None for a regular file."""
    return next((name for is_kind, name in KINDS if is_kind(mode)), None)


def write_json(path: Path, data: Any) -> None:
    """Write data as JSON that people can read."""
    write_text(path, as_json(data))


def as_json(data: Any) -> str:
    """Return data as JSON that people can read."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def read_json_file(path: Path) -> Json:
    """Return a JSON file's mapping; empty if the file is absent or cannot be read."""
    try:
        found: Json = untrusted.read_json(path, dict, names_of_files=True)
    except UnreadableFileError:
        return {}
    return found
