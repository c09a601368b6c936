"""Which processes work on a sweep, and how another terminal or machine asks them to stop.

<sweep>/.processes/<host>-<pid>.json, .lock   a process that started or resumed the sweep
<sweep>/.cancel                               asks all jobs of the sweep to save and end

The system releases the lock of a process however it ends, so that a number of a process that is
gone is never taken for it. The request is a file, so that it reaches jobs on other machines: each
run looks for it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from mmx.runs.atomic import read_json_file, write_json, write_text
from mmx.training.events import StopRequest

CANCELLED = 143
"""The exit code of a job that was cancelled, as of one that SIGTERM stopped."""
LOOK_SECONDS = 1.0
"""Least time between two looks for a request."""
_TERMINATE = 15


@dataclass(frozen=True)
class SweepProcess:
    """A process that works on a sweep.

    Attributes:
        pid: Its number.
        host: Its machine.
    """

    pid: int
    host: str

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        return self.host == socket.gethostname()


@contextmanager
def announce_process(sweep: Path) -> Iterator[None]:
    """Say that this process works on a sweep, while it does."""
    folder = sweep / ".processes"
    folder.mkdir(exist_ok=True)
    name = f"{socket.gethostname()}-{os.getpid()}"
    lock = FileLock(str(folder / f"{name}.lock"))
    with lock:
        write_json(folder / f"{name}.json", {"pid": os.getpid(), "host": socket.gethostname()})
        try:
            yield
        finally:
            for ending in ("json", "lock"):
                with contextlib.suppress(OSError):
                    (folder / f"{name}.{ending}").unlink()


def list_processes(sweep: Path) -> list[SweepProcess]:
    """Return the processes that work on a sweep, without those that are gone."""
    found = []
    for path in sorted((sweep / ".processes").glob("*.json")):
        facts = read_json_file(path)
        pid, host = facts.get("pid"), facts.get("host")
        # A signal to 0 or less reaches a whole group of processes, and 1 is the system itself.
        if not isinstance(pid, int) or not isinstance(host, str) or pid < 2:
            continue
        process = SweepProcess(pid, host)
        if _is_held(path.with_suffix(".lock")):
            found.append(process)
    return found


def _is_held(lock: Path) -> bool:
    """Return whether a process holds a lock, without making its file."""
    if not lock.is_file():
        return False
    try:
        with FileLock(str(lock), timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # another user's
        return True


def request_cancel(sweep: Path) -> None:
    """Ask every job of a sweep to save and end, and that no further one begins."""
    write_text(sweep / ".cancel", f"{socket.gethostname()} {os.getpid()}\n")


def is_cancelled(sweep: Path) -> bool:
    """Return whether a sweep is to end."""
    return find_request(sweep) is not None


def find_request(sweep: Path) -> tuple[int, int] | None:
    """Return what tells a request to end from every other one; None where there is none."""
    try:
        found = (sweep / ".cancel").lstat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def allow_again(sweep: Path) -> None:
    """Take back a request to end, as a sweep is started again."""
    with contextlib.suppress(OSError):
        (sweep / ".cancel").unlink()


def watch_for_cancel(
    sweep: Path, stop: StopRequest, answered: tuple[int, int] | None = None
) -> Callable[[], None]:
    """Return what looks for a request to end, now and then, and makes it one to stop.

    Args:
        sweep: The folder above that of the run, which need not be a sweep.
        stop: The run's request.
        answered: A request that is not heeded, since somebody resumed the run after it.
    """
    last = -LOOK_SECONDS

    def look() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LOOK_SECONDS:
            last = now
            if find_request(sweep) not in (None, answered):
                stop.ask(_TERMINATE)

    return look
