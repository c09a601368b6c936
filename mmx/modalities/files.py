"""Reading many files: threads where they help, and errors that name the row."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmx.errors import DataError

TIMED_ITEMS = 16  # items timed before threads are considered
SLOW = 0.0006  # seconds an item from which on threads pay; below, they only fight for the GIL


def call_each(function: Callable[[int], None], count: int) -> None:
    """Call ``function(i)`` for i below ``count``, on threads where a call takes long.

    The first error, in the order of i, is raised.
    """
    seconds = []
    for i in range(min(TIMED_ITEMS, count)):
        start = time.perf_counter()
        function(i)
        seconds.append(time.perf_counter() - start)
    rest = range(len(seconds), count)
    if not rest or statistics.median(seconds) < SLOW:
        for i in rest:
            function(i)
        return

    def chunk(start: int) -> None:
        for i in rest[start : start + TIMED_ITEMS]:
            function(i)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(chunk, range(0, len(rest), TIMED_ITEMS)):
            pass  # asking for the results raises the first error


FileOrBytes = Path | bytes
"""A file, or the content of one that a table holds."""


def name_file(source: FileOrBytes) -> str:
    """Return what a message calls a file or its content."""
    return str(source) if isinstance(source, Path) else f"of {len(source)} bytes in the table"


def make_unreadable_error(what: str, source: FileOrBytes, row: int, why: object) -> DataError:
    """Return the error for a file that cannot be read; ``row`` counts from 0, the text from 1."""
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
