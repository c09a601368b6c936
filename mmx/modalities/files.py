"""Reading many files: threads where they save time, and errors that name the row."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmx.errors import DataError

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


FileOrBytes = Path | bytes
"""A file, or the content of a file, as a table may hold it."""


def name_file(source: FileOrBytes) -> str:
    """Return the name of a file, or of its content, for messages."""
    return str(source) if isinstance(source, Path) else f"of {len(source)} bytes in the table"


def make_unreadable_error(what: str, source: FileOrBytes, row: int, why: object) -> DataError:
    """Return the error for an unreadable file; ``row`` counts from 0, the message from 1."""
    return DataError(
        f"row {row + 1}: cannot read {what} {name_file(source)}: {why}",
        tip="replace the file or remove the row (rows count from 1)",
    )


def read_file(what: str, source: FileOrBytes, row: int) -> bytes:
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
