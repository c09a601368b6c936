"""One process at a time for each key; who waits can say for whom."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mmx.errors import Interrupted, UnreadableFileError
from mmx.json_object import Json
from mmx.runs.atomic import write_json
from mmx.training.events import StopRequest
from mmx.untrusted import read_json

POLL_SECONDS = 0.1


class KeyLock:
    """The lock of one key. The system frees it when its process ends, however it ends.

    The lock file stays for ever: to remove it would split those who wait for it.

    Args:
        root: Folder of the cache.
        key: Of an artifact.
    """

    def __init__(self, root: Path, key: str) -> None:
        folder = root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(str(folder / key))
        self._maker = folder / f"{key}.json"

    def attempt(self) -> bool:
        """Take the lock if nobody has it; return whether it was taken."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def wait(self, say: Callable[[str], None], stop: StopRequest | None) -> None:
        """Take the lock, saying for which process it waits, if that makes the artifact.

        Raises:
            Interrupted: A signal has asked the run to stop.
        """
        told: Json = {}
        while not self.attempt():
            maker = self._living_maker()
            if maker and maker != told:
                say(f"waiting for {_name(maker)}, which is {maker.get('doing', 'making it')}")
                told = maker
            if stop is not None and stop.signal_number is not None:
                text = f"stopped while waiting for {_name(told) if told else 'another process'}"
                raise Interrupted(text, signal_number=stop.signal_number)
            time.sleep(POLL_SECONDS)

    def _living_maker(self) -> Json:
        """Return who makes the artifact; empty where the file is of one that was killed."""
        try:
            maker = read_json(self._maker, dict, limit=4096, follow_links=False)
        except UnreadableFileError:
            return {}
        if maker.get("host") == socket.gethostname():
            try:
                os.kill(int(maker["pid"]), 0)
            except PermissionError:
                return maker
            except (OSError, KeyError, ValueError, TypeError, OverflowError):
                return {}
        return maker

    @contextmanager
    def announced(self, doing: str) -> Iterator[None]:
        """Let those who wait know what this process does while the block runs."""
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "doing": doing}
        with contextlib.suppress(OSError):  # on a full disk they wait without knowing
            write_json(self._maker, facts)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self._maker.unlink()

    def release(self) -> None:
        """Let others have it."""
        self._lock.release()


def _name(maker: Json) -> str:
    here = maker.get("host") == socket.gethostname()
    return f"process {maker.get('pid')}" + ("" if here else f" on {maker.get('host')}")
