"""Reading many files: threads where they save time, and errors that name the row."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmx.errors import DataError
from mmx.modalities.members import Member
from mmx.stand_ins import START_BYTES, find_stand_in

UNUSABLE_TIP = (
    "replace the file or remove the row (rows count from 1); "
    "target.unusable=drop leaves such files out"
)
TIMED_ITEMS = 16  # items that are timed before threads are considered
SLOW = 0.0006  # seconds per item; threads save time above it, below they wait for the GIL


def call_each(function: Callable[[int], None], count: int) -> None:
    """Call ``function(i)`` for i below ``count``, on threads if a call takes long.

    If calls raise errors, the error of the smallest i is raised.
    """
    seconds = []
    for i in range(min(TIMED_ITEMS, count)):
        start = time.perf_counter()
        function(i)
        seconds.append(time.perf_counter() - start)
    rest = range(len(seconds), count)
    # The median, since the first call often opens or imports something.
    if not rest or statistics.median(seconds) < SLOW:
        for i in rest:
            function(i)
        return

    def chunk(start: int) -> None:
        for i in rest[start : start + TIMED_ITEMS]:
            function(i)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(chunk, range(0, len(rest), TIMED_ITEMS)):
            pass  # reading the results in order raises the first error


FileOrBytes = Path | Member | bytes
"""A file, also one in an archive, or the content of a file, as a table may hold it."""
RowName = int | str
"""A row for messages: its number from 0, or what it is called."""


def name_row(row: RowName) -> str:
    """Return what a row is called; numbers count from 1 in messages."""
    return row if isinstance(row, str) else f"row {row + 1}"


def name_file(source: FileOrBytes) -> str:
    """Return the name of a file, or of its content, for messages."""
    return f"of {len(source)} bytes in the table" if isinstance(source, bytes) else str(source)


def make_unreadable_error(what: str, source: FileOrBytes, row: RowName, why: object) -> DataError:
    """Return the error for an unreadable file."""
    with contextlib.suppress(OSError):  # why it cannot be read is known already
        why = find_stand_in(read_start(source, START_BYTES)) or why
    return DataError(
        f"{name_row(row)}: cannot read {what} {name_file(source)}: {why}",
        tip=UNUSABLE_TIP,
    )


def read_start(source: FileOrBytes, count: int) -> bytes:
    """Return the first bytes of a file, which say its format."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            return file.read(count)
    return (source if isinstance(source, bytes) else source.read_bytes())[:count]


def read_file(what: str, source: FileOrBytes, row: RowName) -> bytes:
    """Return a file's content.

    Raises:
        DataError: The file cannot be opened.
    """
    if isinstance(source, bytes):
        return source
    try:
        return source.read_bytes()
    except OSError as error:
        raise make_unreadable_error(what, source, row, error.strerror or error) from error


def count_bytes(source: FileOrBytes) -> int:
    """Return the size of a file, or of its content."""
    if isinstance(source, Member):
        return source.size
    return len(source) if isinstance(source, bytes) else source.stat().st_size
