"""What is found in place of a file that was not fetched: a pointer of Git LFS, a server's page."""

from __future__ import annotations

from pathlib import Path

LFS_START = b"version https://git-lfs"
HTML_STARTS = (b"<!doctype html", b"<html")
START_BYTES = 64
"""First bytes of a file that tell."""


def find_stand_in(start: bytes) -> str | None:
    """Return what stands in place of a file, and what to do; None for anything else.

    Args:
        start: The first :data:`START_BYTES` of the file, or more.

    Example:
        >>> find_stand_in(b"<!DOCTYPE html><html>")
        'an HTML page in place of the file: fetch it again'
        >>> find_stand_in(b"image,label") is None
        True
    """
    if start.startswith(LFS_START):
        return "a pointer of Git LFS in place of the file: git lfs pull fetches it"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(HTML_STARTS):
        return "an HTML page in place of the file: fetch it again"
    return None


def find_stand_in_at(path: Path) -> str | None:
    """Return the same of a file that exists."""
    with path.open("rb") as file:
        return find_stand_in(file.read(START_BYTES))
