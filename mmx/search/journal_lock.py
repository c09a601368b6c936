"""The lock of a study's journal, which ends with the process that holds it."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock

NAME = ".journal.lock"


class JournalLock:
    """Held while a line is added to a journal; Optuna calls it.

    Optuna's own lock is a file that a killed process leaves behind, and for which others then wait.

    Args:
        journal: The file that is added to.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock = FileLock(str(journal.with_name(NAME)))

    def acquire(self) -> bool:
        """Wait for the lock; what a killed process has half written is removed."""
        self._lock.acquire()
        self._remove_half_line()
        return True

    def release(self) -> None:
        """Let others write."""
        self._lock.release()

    def _remove_half_line(self) -> None:
        with self._journal.open("r+b") as file:
            size = end = file.seek(0, os.SEEK_END)
            while end:
                file.seek(end - 1)
                if file.read(1) == b"\n":
                    break
                end -= 1
            if end < size:
                file.truncate(end)
