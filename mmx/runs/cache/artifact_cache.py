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
    """Results of stages, by what they were made from.

    A cache that cannot be written, is full of what others use, or holds what is damaged costs
    time, never a run: it says so, and things are made without it.

    Args:
        path: Its folder; made when it is first needed.
        limit_bytes: What all artifacts together may take. 0 keeps nothing.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self._said: set[str] = set()

    def key(self, kind: str, inputs: Json) -> str:
        """Return the key of an artifact: 32 hex digits that follow from all it depends on.

        Raises:
            TypeError: The inputs hold something that is no JSON.
        """
        return artifact_key.key(kind, inputs)

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

        Both ways give the same: tensors sorted by name, on the CPU, contiguous, without
        gradient and sharing no memory; facts as JSON gives them back.

        Args:
            kind: What sort of thing it is: ``stage``, ``features``, ``mapping``, …
            inputs: All that it depends on, as JSON-able data; the code is added.
            make: Gives tensors, and facts as JSON-able data. Called at most once, while no
                other process makes the same.
            say: Takes a line for people.
            what: What it is, for people; the kind, if nothing is said.
            stop: Ends the waiting for another process.
            keep: Whether it is kept if it is made now.
            check: Raises whatever it likes where a kept one is not what ``make`` gives; leaves
                everything as it was. Such a one is made again.

        Raises:
            Interrupted: ``stop`` was asked while another process was making it.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", kind):
            raise ValueError(f"kind={kind!r} must be a plain lower-case name: it names a folder")
        what, key = what or kind, self.key(kind, inputs)
        folder = folders.folder_of(self.path, kind, key)
        with self._held(key, say, stop) as lock:
            found = self._read(folder, what, say, check, remove=lock is not None)
            if found is not None:
                return found
            if lock is None:
                return _made(make)[:2]
            with lock.announced(f"{DOING.get(kind, 'making')} the same {what}"):
                tensors, facts, seconds = _made(make)
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
    def _held(
        self, key: str, say: SayProgress, stop: StopRequest | None
    ) -> Iterator[KeyLock | None]:
        """Hold a key's lock; None where the folder lets nobody lock."""
        try:
            lock = KeyLock(self.path, key)
            lock.wait(say, stop)
        except OSError as error:
            self._without(error, say)
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
        """Return a kept artifact; None where there is none, or none that can be used."""
        if not os.path.lexists(folder):
            return None
        try:
            found = _usable(folder, check)
            seconds = folders.seconds_of(folders.read_provenance(folder))
        except DamagedError as damage:
            say(f"{what}: the kept one is damaged and made again: {damage}")
            if remove:
                with contextlib.suppress(OSError):  # said when the new one cannot be written
                    folders.discard(folder)
            return None
        folders.touch(folder)
        say(f"{what}: taken from the cache, {seconds:.1f} s saved")
        return found

    def _keep(
        self, folder: Path, tensors: dict[str, Tensor], provenance: Json, say: SayProgress
    ) -> None:
        """Write an artifact if there is room for it."""
        from mmx.runs.cache.tensors import pack

        data = pack(tensors, provenance["facts"], folder.name)
        description = folders.describe(data, provenance)
        needed = len(data) + len(description)
        if needed > self.limit_bytes:
            size, limit = readable_bytes(needed), readable_bytes(self.limit_bytes)
            self._once(
                say, f"{provenance['what']}: not kept, {size} is more than the limit {limit}"
            )
            return
        try:
            if self._make_room(needed):
                folders.write_artifact(folder, data, description)
            else:
                self._once(say, f"{provenance['what']}: not kept, others use all there is room for")
        except OSError as error:
            self._without(error, say)

    def _make_room(self, needed: int) -> bool:
        """Remove what was not used for longest, and what killed processes left behind.

        Returns:
            Whether there is room: what other processes read or make stays.
        """
        for key, path in folders.leftovers(self.path):
            with contextlib.suppress(OSError):
                self._clear(key, path)
        kept = self.entries()
        total = needed + sum(artifact.bytes for artifact in kept)
        for artifact in kept:
            if total <= self.limit_bytes:
                break
            with contextlib.suppress(OSError):  # what cannot be removed stays, as what is in use
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

    def _without(self, error: OSError, say: SayProgress) -> None:
        reason = error.strerror or str(error)
        self._once(say, f"the cache {self.path} cannot be used ({reason}): going on without it")

    def _once(self, say: SayProgress, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            say(text)

    def entries(self) -> list[Artifact]:
        """Return all artifacts, the least recently used first."""
        return folders.artifacts(self.path)

    def remove(self, artifact: Artifact) -> bool:
        """Remove an artifact; return False where a process is reading or making it.

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
        """Read every artifact; yield each with its damage, or None where it is sound.

        One in use is left out: whoever reads it checks it.
        """
        for artifact in self.entries():
            try:
                lock = KeyLock(self.path, artifact.key)
                taken = lock.attempt()
            except OSError:  # a folder that nobody can write can be read all the same
                yield artifact, _damage(artifact)
                continue
            if taken:
                try:
                    there, damage = os.path.lexists(artifact.path), _damage(artifact)
                finally:
                    lock.release()
                if there:
                    yield artifact, damage


def _usable(folder: Path, check: CheckArtifact | None) -> tuple[dict[str, Tensor], Json]:
    """Return an artifact's tensors and facts.

    Raises:
        DamagedError: They are not what was written, or no use for who asks.
    """
    from mmx.runs.cache.tensors import unpack

    found = unpack(folders.content(folder))
    if check is not None:
        try:
            check(*found)
        except Exception as error:
            raise DamagedError(f"it cannot be used: {str(error) or repr(error)}") from error
    return found


def _damage(artifact: Artifact) -> str | None:
    try:
        folders.content(artifact.path)
    except DamagedError as damage:
        return str(damage)
    return None


def _made(make: Make) -> tuple[dict[str, Tensor], Json, float]:
    """Return tensors and facts as reading would give them, and the seconds they took."""
    from mmx.runs.cache.tensors import plain

    began = time.perf_counter()
    tensors, facts = make()
    seconds = time.perf_counter() - began
    return plain(tensors), json.loads(json.dumps(facts)), seconds
