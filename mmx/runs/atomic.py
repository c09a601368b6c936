"""Writes that happen wholly or not at all."""

from __future__ import annotations

import contextlib
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

KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
"""What is no regular file."""


def make_folder(path: Path, *, tip: str = "output_dir=<folder>   (where results go)") -> None:
    """Make a folder for results, and those above it.

    Raises:
        RunError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"the folder {path} cannot be made: {error.strerror}", tip=tip) from error


def write_text(path: Path, text: str) -> None:
    """Replace a file's content, atomically and durably; a failure leaves the old one.

    Raises:
        RunError: A link, a folder or a device is in the file's place.
    """
    require_file(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(2)}")
    try:
        with temporary.open("x", encoding="utf-8") as file:  # x: through no link of that name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def append_text(path: Path, text: str) -> None:
    """Add to the end of a file of one name.

    Raises:
        RunError: A link, a folder or a device is in the file's place.
    """
    require_file(path, one_name=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with open(os.open(path, flags, 0o666), "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)


def require_file(path: Path, *, one_name: bool = False) -> None:
    """Refuse to write where something else than a file is, before it is opened.

    Args:
        path: Where to write; nothing need be there.
        one_name: Refuse a file that has another name too: what is added to it is added there.

    Raises:
        RunError: It is a link, a folder, a pipe or a device.
    """
    try:
        status = path.lstat()
    except OSError:  # nothing is there; or a folder above cannot be read, which opening says
        return
    if what := special(status.st_mode):
        raise RunError(f"{path} is {what}: nothing is written to it")
    if one_name and status.st_nlink > 1:
        raise RunError(
            f"{path} is a file with {status.st_nlink} names (hard links): what is added to it "
            "would be added under each",
            tip=f"cp -r {shlex.quote(str(path.parent))} <copy>   (and work on the copy)",
        )


def special(mode: int) -> str | None:
    """Return what something is that is no regular file, from its ``st_mode``."""
    return next((name for is_kind, name in KINDS if is_kind(mode)), None)


def write_json(path: Path, data: Any) -> None:
    """Write data as JSON that people can read."""
    write_text(path, as_json(data))


def as_json(data: Any) -> str:
    """Return data as JSON that people can read."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def read_json_file(path: Path) -> Json:
    """Return a JSON file's mapping; empty where the file is absent or broken."""
    try:
        found: Json = untrusted.read_json(path, dict, names_of_files=True)
    except UnreadableFileError:
        return {}
    return found
