"""The digest of what is in a file, read once a process."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from mmx.runs.file_states import SETTLED_NS

BLOCK = 2**20
"""Bytes that are read at once."""
_DIGESTS: dict[tuple[str, int, int, int, int], str] = {}


def content_digest(path: Path) -> str:
    """Return the digest of what is in a file, or in all files of a folder by their names.

    A file is read once a process, as long as its size and times stay as they were.
    """
    if path.is_dir():
        whole = hashlib.blake2b(digest_size=16)
        for each in sorted(_list_files(path)):
            name = each.relative_to(path).as_posix()
            whole.update(f"{name} {content_digest(each)}\n".encode())
        return whole.hexdigest()
    stat = path.stat()
    key = (str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if key in _DIGESTS:
        return _DIGESTS[key]
    found = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    digest = found.hexdigest()
    if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > SETTLED_NS:
        _DIGESTS[key] = digest
    return digest


def _list_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, also those of folders that links in it lead to."""
    opened: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        opened.add(os.path.realpath(root))
        # A link to a folder that was walked already may lead back to itself.
        folders[:] = [each for each in folders if os.path.realpath(Path(root, each)) not in opened]
        yield from (file for each in names if (file := Path(root, each)).is_file())


def digest_files(files: list[Path]) -> str:
    """Return one digest of several files by their names, whatever folder they lie in."""
    whole = hashlib.blake2b(digest_size=16)
    for path in sorted(files, key=lambda each: each.name):
        whole.update(f"{path.name} {content_digest(path)}\n".encode())
    return whole.hexdigest()
