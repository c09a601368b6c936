"""A search goes on whatever a killed process has left of its journal and of its lock."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from mmx.search.journal_lock import NAME, JournalLock


def hold(journal: Path, told: Connection) -> None:
    lock = JournalLock(journal)
    lock.acquire()
    told.send("held")
    signal.pause()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    journal.write_bytes(b"1\n")
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=hold, args=(journal, there))
    process.start()
    assert here.recv() == "held"
    with pytest.raises(Timeout):
        FileLock(str(tmp_path / NAME), timeout=0).acquire()
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    lock = JournalLock(journal)
    assert lock.acquire()
    lock.release()


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        (b"", b""),
        (b'{"a": 1}\n', b'{"a": 1}\n'),
        (b'{"a": 1}\n{"b', b'{"a": 1}\n'),
        (b'{"a', b""),
    ],
)
def test_a_line_that_is_half_written_is_removed(left: bytes, kept: bytes, tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    journal.write_bytes(left)
    lock = JournalLock(journal)
    lock.acquire()
    lock.release()
    assert journal.read_bytes() == kept
