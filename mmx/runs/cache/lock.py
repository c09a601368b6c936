"""A lock for each key of the cache; a process that waits can say for which one it waits."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mmx.errors import UnreadableFileError
from mmx.json_object import Json
from mmx.runs.atomic import write_json
from mmx.training.events import StopRequest
from mmx.untrusted import read_json

POLL_SECONDS = 0.1


class KeyLock:
    """The lock of one key. The system releases it when its process ends, however it ends.

    The lock file is never removed: otherwise one process could hold the lock of the removed file
    and another that of a new one.

    Args:
        root: Folder of the cache.
        key: The key of an artifact.
    """

    def __init__(self, root: Path, key: str) -> None:
        folder = root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(str(folder / key))
        self._maker = folder / f"{key}.json"

    def attempt(self) -> bool:
        """Take the lock if it is free; return whether it was taken."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def wait(self, say: Callable[[str], None], stop: StopRequest | None) -> None:
        """Take the lock; while waiting, say which process is making the artifact.

        Raises:
            Interrupted: A signal has asked the run to stop.
        """
        told: Json = {}
        while not self.attempt():
            maker = self._living_maker()
            if maker and maker != told:
                doing = maker.get("doing", "making it")
                say(f"waiting for {_describe_process(maker)}, which is {doing}")
                told = maker
            if stop is not None and stop.is_made:
                whom = _describe_process(told) if told else "another process"
                raise stop.describe(f"stopped while waiting for {whom}")
            time.sleep(POLL_SECONDS)

    def _living_maker(self) -> Json:
        """Return the process that makes the artifact; empty if it was killed, or is unknown."""
        try:
            maker = read_json(self._maker, dict, limit=4096, follow_links=False)
        except UnreadableFileError:
            return {}
        if maker.get("host") == socket.gethostname():
            try:
                os.kill(int(maker["pid"]), 0)  # signal 0 only asks whether the process exists
            except PermissionError:  # it exists, and belongs to another user
                return maker
            except (OSError, KeyError, ValueError, TypeError, OverflowError):
                return {}
        return maker

    @contextmanager
    def announce(self, doing: str) -> Iterator[None]:
        """Tell waiting processes what this one does, inside the block."""
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "doing": doing}
        with contextlib.suppress(OSError):  # on a full disk they wait without an explanation
            write_json(self._maker, facts)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self._maker.unlink()

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()


def _describe_process(maker: Json) -> str:
    here = maker.get("host") == socket.gethostname()
    return f"process {maker.get('pid')}" + ("" if here else f" on {maker.get('host')}")
