"""The cache: an artifact is read, or made by one process while the others wait."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mmx.json_object import Json
from mmx.runs.cache import artifact_key
from mmx.runs.cache import folder as folders
from mmx.runs.cache.folder import Artifact, DamagedError, readable_bytes
from mmx.runs.cache.lock import KeyLock
from mmx.training.events import StopRequest

if TYPE_CHECKING:
    from torch import Tensor

SayProgress = Callable[[str], None]
Make = Callable[[], "tuple[dict[str, Tensor], Json]"]
CheckArtifact = Callable[["dict[str, Tensor]", Json], object]
DOING = {
    "stage": "training",
    "features": "computing",
    "mapping": "fitting",
    "channel_weights": "measuring",
}


class Cache:
    """Results of stages, found by what they were made from.

    A cache that cannot be written, is full, or has damaged artifacts never fails a run: it
    reports the problem, and the results are computed without it.

    Args:
        path: Its folder; made when it is first needed.
        limit_bytes: Most bytes of all artifacts together; 0 keeps nothing.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self._said: set[str] = set()

    def key(self, kind: str, inputs: Json) -> str:
        """Return the key of an artifact: 32 hex digits, a digest of all it depends on.

        Raises:
            TypeError: The inputs contain something that is not JSON.
        """
        return artifact_key.make_key(kind, inputs)

    def get_or_make(
        self,
        kind: str,
        inputs: Json,
        make: Make,
        *,
        say: SayProgress,
        what: str = "",
        stop: StopRequest | None = None,
        keep: bool = True,
        check: CheckArtifact | None = None,
    ) -> tuple[dict[str, Tensor], Json]:
        """Return an artifact, read from the cache or made now.

        Both ways give the same: tensors sorted by name, on the CPU, contiguous, without gradient
        and without shared memory; facts as JSON returns them.

        Args:
            kind: Its kind: ``stage``, ``features``, ``mapping``, …
            inputs: All that it depends on, as JSON-able data; the code is added.
            make: Returns tensors, and facts as JSON-able data. Called at most once, while no
                other process makes the same artifact.
            say: Called with a line for people.
            what: What it is, for people; by default the kind.
            stop: A request that ends the waiting for another process.
            keep: Whether to keep it if it is made now.
            check: Raises any exception if a kept artifact is not what ``make`` would return; it
                must not change anything. The artifact is then made again.

        Raises:
            Interrupted: ``stop`` was requested while another process was making it.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", kind):
            raise ValueError(f"kind={kind!r} must be a plain lower-case name: it names a folder")
        what, key = what or kind, self.key(kind, inputs)
        folder = folders.find_folder(self.path, kind, key)
        with self._hold_lock(key, say, stop) as lock:
            # Read under the lock, so that no other process removes the artifact meanwhile.
            found = self._read(folder, what, say, check, remove=lock is not None)
            if found is not None:
                return found
            if lock is None:
                return _run_make(make)[:2]
            with lock.announce(f"{DOING.get(kind, 'making')} the same {what}"):
                tensors, facts, seconds = _run_make(make)
                provenance = {
                    "kind": kind,
                    "what": what,
                    "inputs": inputs,
                    "facts": facts,
                    "code": artifact_key.code_version(),
                    "created": datetime.now().astimezone().isoformat(timespec="seconds"),
                    "seconds": round(seconds, 3),
                }
                if keep:
                    self._keep(folder, tensors, provenance, say)
        return tensors, facts

    @contextmanager
    def _hold_lock(
        self, key: str, say: SayProgress, stop: StopRequest | None
    ) -> Iterator[KeyLock | None]:
        """Hold a key's lock inside the block; yields None if the folder cannot be written."""
        try:
            lock = KeyLock(self.path, key)
            lock.wait(say, stop)
        except OSError as error:
            self._warn_unusable(error, say)
            yield None
            return
        try:
            yield lock
        finally:
            lock.release()

    def _read(
        self,
        folder: Path,
        what: str,
        say: SayProgress,
        check: CheckArtifact | None,
        *,
        remove: bool,
    ) -> tuple[dict[str, Tensor], Json] | None:
        """Return a kept artifact; None if there is none, or it cannot be used."""
        if not os.path.lexists(folder):
            return None
        try:
            found = _read_usable(folder, check)
            seconds = folders.read_seconds(folders.read_provenance(folder))
        except DamagedError as damage:
            say(f"{what}: the kept one is damaged and made again: {damage}")
            if remove:
                with contextlib.suppress(OSError):  # reported when the new one cannot be written
                    folders.discard(folder)
            return None
        folders.touch(folder)
        say(f"{what}: taken from the cache, {seconds:.1f} s saved")
        return found

    def _keep(
        self, folder: Path, tensors: dict[str, Tensor], provenance: Json, say: SayProgress
    ) -> None:
        """Write an artifact if there is space for it."""
        from mmx.runs.cache.tensors import pack

        data = pack(tensors, provenance["facts"], folder.name)
        description = folders.describe(data, provenance)
        needed = len(data) + len(description)
        if needed > self.limit_bytes:
            size, limit = readable_bytes(needed), readable_bytes(self.limit_bytes)
            self._say_once(
                say, f"{provenance['what']}: not kept, {size} is more than the limit {limit}"
            )
            return
        try:
            if self._make_room(needed):
                folders.write_artifact(folder, data, description)
            else:
                self._say_once(
                    say, f"{provenance['what']}: not kept, others use all there is room for"
                )
        except OSError as error:
            self._warn_unusable(error, say)

    def _make_room(self, needed: int) -> bool:
        """Remove the least recently used artifacts, and what killed processes left behind.

        Returns:
            Whether there is space now; artifacts that other processes use are not removed.
        """
        for key, path in folders.list_leftovers(self.path):
            with contextlib.suppress(OSError):
                self._clear(key, path)
        kept = self.entries()  # the least recently used first
        total = needed + sum(artifact.bytes for artifact in kept)
        for artifact in kept:
            if total <= self.limit_bytes:
                break
            with contextlib.suppress(OSError):  # one that cannot be removed still takes its space
                if self.remove(artifact):
                    total -= artifact.bytes
        return total <= self.limit_bytes

    def _clear(self, key: str, path: Path) -> None:
        lock = KeyLock(self.path, key)
        if lock.attempt():
            try:
                folders.delete(path)
            finally:
                lock.release()

    def _warn_unusable(self, error: OSError, say: SayProgress) -> None:
        reason = error.strerror or str(error)
        self._say_once(say, f"the cache {self.path} cannot be used ({reason}): going on without it")

    def _say_once(self, say: SayProgress, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            say(text)

    def entries(self) -> list[Artifact]:
        """Return all artifacts, the least recently used first."""
        return folders.list_artifacts(self.path)

    def remove(self, artifact: Artifact) -> bool:
        """Remove an artifact; return False if a process is reading or making it.

        Raises:
            OSError: The folder cannot be written.
        """
        lock = KeyLock(self.path, artifact.key)
        if not lock.attempt():
            return False
        try:
            folders.discard(artifact.path)
        finally:
            lock.release()
        return True

    def verify(self) -> Iterator[tuple[Artifact, str | None]]:
        """Read every artifact; yield each with its damage, or None if there is none.

        Artifacts in use are left out: the process that reads them checks them.
        """
        for artifact in self.entries():
            try:
                lock = KeyLock(self.path, artifact.key)
                taken = lock.attempt()
            except OSError:  # a folder that cannot be written can still be read
                yield artifact, _find_damage(artifact)
                continue
            if taken:
                try:
                    there, damage = os.path.lexists(artifact.path), _find_damage(artifact)
                finally:
                    lock.release()
                if there:
                    yield artifact, damage


def _read_usable(folder: Path, check: CheckArtifact | None) -> tuple[dict[str, Tensor], Json]:
    """Return an artifact's tensors and facts.

    Raises:
        DamagedError: They are not what was written, or the caller's check fails.
    """
    from mmx.runs.cache.tensors import unpack

    found = unpack(folders.read_content(folder))
    if check is not None:
        try:
            check(*found)
        except Exception as error:
            raise DamagedError(f"it cannot be used: {str(error) or repr(error)}") from error
    return found


def _find_damage(artifact: Artifact) -> str | None:
    try:
        folders.read_content(artifact.path)
    except DamagedError as damage:
        return str(damage)
    return None


def _run_make(make: Make) -> tuple[dict[str, Tensor], Json, float]:
    """Make an artifact; return it as reading would, and the seconds it took."""
    from mmx.runs.cache.tensors import make_plain

    began = time.perf_counter()
    tensors, facts = make()
    seconds = time.perf_counter() - began
    # Facts go through JSON, so that a run sees the same whether they were cached or not.
    return make_plain(tensors), json.loads(json.dumps(facts)), seconds
