"""Artifacts as folders: where they lie, how one appears whole, how its damage is seen."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmx.runs.atomic import read_json, write_text

TENSORS, PROVENANCE = "tensors.safetensors", "provenance.json"
HEADER = "mmx"
"""Under this name the safetensors header holds what is kept beside the tensors."""


class DamagedError(Exception):
    """An artifact is not what was written; never leaves the cache."""


@dataclass(frozen=True)
class Artifact:
    """One artifact on disk.

    Attributes:
        path: Its folder, named by its key.
        what: What it is, for people.
        created: When it was made, in ISO format.
        seconds: That it took to make, and that each use saves.
        bytes: On disk.
        used: When it was last read or written, in seconds since 1970.
    """

    path: Path
    what: str
    created: str
    seconds: float
    bytes: int
    used: float

    @property
    def key(self) -> str:
        """Return the key."""
        return self.path.name

    @property
    def kind(self) -> str:
        """Return the kind."""
        return self.path.parent.parent.name


def location(setting: str = "auto") -> Path | None:
    """Return the folder of the cache, or None where it is off.

    Args:
        setting: ``auto``, ``off`` or a folder. ``auto`` is ``$MMX_CACHE_DIR``, which may be
            ``off`` too, and else a folder in the user's cache directory.
    """
    if setting == "auto":
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        setting = os.environ.get("MMX_CACHE_DIR") or f"{cache}/mmx/artifacts"
    return None if setting == "off" else Path(setting).expanduser().absolute()


def folder_of(root: Path, kind: str, key: str) -> Path:
    """Return where an artifact lies, or would."""
    return root / kind / key[:2] / key


def artifacts(root: Path) -> list[Artifact]:
    """Return all artifacts, the least recently used first, and no folder that is none."""
    found = []
    for path in root.glob("[!.]*/??/*"):
        if re.fullmatch(r"[0-9a-f]{32}", path.name) and path.name[:2] == path.parent.name:
            with contextlib.suppress(OSError):  # removed meanwhile
                found.append(_artifact(path))
    return sorted(found, key=lambda artifact: (artifact.used, artifact.key))


def leftovers(root: Path) -> list[tuple[str, Path]]:
    """Return what killed processes left half written or half removed, each with its key."""
    named = (
        (re.fullmatch(r"\.([0-9a-f]{32})\.(new|old)", path.name), path)
        for path in root.glob("[!.]*/??/.*")
    )
    return [(found[1], path) for found, path in named if found]


def _artifact(path: Path) -> Artifact:
    provenance = read_json(path / PROVENANCE)
    dated = path / PROVENANCE if provenance else path
    return Artifact(
        path,
        what=str(provenance.get("what", "")),
        created=str(provenance.get("created", "")),
        seconds=seconds_of(provenance),
        bytes=sum(file.stat().st_size for file in path.iterdir()),
        used=dated.stat().st_mtime,
    )


def seconds_of(provenance: dict[str, Any]) -> float:
    """Return how long an artifact took to make; 0 where somebody has spoilt the number."""
    seconds = provenance.get("seconds")
    return float(seconds) if isinstance(seconds, (int, float)) else 0.0


def touch(folder: Path) -> None:
    """Note that an artifact was used; a folder that is only read keeps its time."""
    with contextlib.suppress(OSError):
        os.utime(folder / PROVENANCE)


def digest(data: bytes) -> str:
    """Return the digest by which damage is seen."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def header(data: bytes) -> dict[str, Any]:
    """Return what the header of a safetensors file holds beside its tensors."""
    length = int.from_bytes(data[:8], "little")
    beside = json.loads(data[8 : 8 + length])["__metadata__"][HEADER]
    found: dict[str, Any] = json.loads(beside)
    return found


def content(folder: Path) -> bytes:
    """Return an artifact's tensor file, checked.

    Raises:
        DamagedError: It is not what was written under this key.
    """
    try:
        data = (folder / TENSORS).read_bytes()
    except OSError as error:
        raise DamagedError(f"{TENSORS} cannot be read ({error.strerror})") from error
    expected = read_json(folder / PROVENANCE).get("hash")
    if expected is None:
        raise DamagedError(f"{PROVENANCE} cannot be read")
    if digest(data) != expected:
        raise DamagedError(f"{TENSORS} is not what was written")
    try:
        same = header(data)["key"] == folder.name
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{TENSORS} was not written by mmx") from error
    if not same:
        raise DamagedError(f"{TENSORS} belongs to another key")
    return data


def describe(data: bytes, provenance: dict[str, Any]) -> str:
    """Return the text of a ``provenance.json``."""
    facts = {**provenance, "bytes": len(data), "hash": digest(data)}
    return json.dumps(facts, indent=2) + "\n"


def write(folder: Path, data: bytes, description: str) -> None:
    """Let an artifact appear, whole and durable; its key's lock is held."""
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        with (new / TENSORS).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        write_text(new / PROVENANCE, description)
        _sync(new)
        new.rename(folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _sync(folder: Path) -> None:
    """Make names durable, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def discard(folder: Path) -> None:
    """Remove an artifact, at once for every reader; its key's lock is held."""
    old = folder.with_name(f".{folder.name}.old")
    if old.exists():
        shutil.rmtree(old)
    try:
        folder.rename(old)
    except FileNotFoundError:
        return
    shutil.rmtree(old)


def readable_bytes(count: int) -> str:
    """Return a size for people, in decimal units."""
    size, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if round(size, 1) < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
