"""Artifacts as folders: where they lie, how one appears whole, how its damage is seen."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from mmx.errors import UnreadableFileError
from mmx.json_object import Json
from mmx.runs.atomic import write_text
from mmx.runs.digests import SEAL, digest, intact, sealed_text
from mmx.untrusted import MAX_BYTES, read_bytes

TENSORS, PROVENANCE = "tensors.safetensors", "provenance.json"
HEADER = "mmx"
"""Under this name the safetensors header holds what is kept beside the tensors."""
SEALED_SINCE_FORMAT = 2
"""Of a ``provenance.json``; earlier ones have neither a format nor a digest."""


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
    """Return what is known of an artifact, however much of it is damaged."""
    try:
        provenance = read_provenance(path)
    except DamagedError:
        provenance = {}
    dated = path / PROVENANCE if provenance else path
    files = path.iterdir() if path.is_dir() and not path.is_symlink() else [path]
    return Artifact(
        path,
        what=_text(provenance.get("what")),
        created=_text(provenance.get("created")),
        seconds=seconds_of(provenance),
        bytes=sum(file.lstat().st_size for file in files),
        used=dated.lstat().st_mtime,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def seconds_of(provenance: Json) -> float:
    """Return how long an artifact took to make; 0 where somebody has spoilt the number."""
    seconds = provenance.get("seconds")
    return float(seconds) if isinstance(seconds, float) or type(seconds) is int else 0.0


def touch(folder: Path) -> None:
    """Note that an artifact was used; a folder that is only read keeps its time."""
    with contextlib.suppress(OSError):
        os.utime(folder / PROVENANCE)


def read_provenance(folder: Path) -> Json:
    """Return what is said of an artifact.

    Raises:
        DamagedError: It cannot be read, or is not what was written.
    """
    path = folder / PROVENANCE
    try:
        text = read_bytes(path, limit=MAX_BYTES, follow_links=False).decode()
        found = json.loads(text)
    except UnreadableFileError as error:
        raise DamagedError(f"{PROVENANCE} {error.reason}") from error
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{PROVENANCE} cannot be read") from error
    if not isinstance(found, dict) or _beyond_floats(found.get("seconds")):
        raise DamagedError(f"{PROVENANCE} cannot be read")
    is_sealed = found.keys() & {SEAL, "format"}
    if is_sealed and not (intact(text, found) and found.get("format") == SEALED_SINCE_FORMAT):
        raise DamagedError(f"{PROVENANCE} is not what was written")
    return found


def _beyond_floats(number: object) -> bool:
    return isinstance(number, int) and number.bit_length() > 64


def header(data: bytes) -> Json:
    """Return what the header of a safetensors file holds beside its tensors."""
    length = int.from_bytes(data[:8], "little")
    beside = json.loads(data[8 : 8 + length])["__metadata__"][HEADER]
    found: Json = json.loads(beside)
    return found


def content(folder: Path) -> bytes:
    """Return an artifact's tensor file, checked.

    Raises:
        DamagedError: It is not what was written under this key.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise DamagedError("it is no folder of its own")
    provenance = read_provenance(folder)
    size = provenance.get("bytes")
    if not isinstance(size, int) or _beyond_floats(size):
        raise DamagedError(f"{PROVENANCE} does not say how large it is")
    try:
        data = read_bytes(folder / TENSORS, limit=size, follow_links=False)
    except UnreadableFileError as error:
        raise DamagedError(f"{TENSORS} {error.reason}") from error
    if digest(data) != provenance.get("hash"):
        raise DamagedError(f"{TENSORS} is not what was written")
    try:
        same = header(data)["key"] == folder.name
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"{TENSORS} was not written by mmx") from error
    if not same:
        raise DamagedError(f"{TENSORS} belongs to another key")
    return data


def describe(data: bytes, provenance: Json) -> str:
    """Return the text of a ``provenance.json``."""
    facts = {**provenance, "bytes": len(data), "hash": digest(data)}
    return sealed_text({**facts, "format": SEALED_SINCE_FORMAT}, ascii_only=True)


def write_artifact(folder: Path, data: bytes, description: str) -> None:
    """Let an artifact appear, whole and durable; its key's lock is held."""
    new = folder.with_name(f".{folder.name}.new")
    if os.path.lexists(new):
        delete(new)
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
    """Remove an artifact, or what is in its place, at once for every reader.

    Its key's lock is held.
    """
    old = folder.with_name(f".{folder.name}.old")
    if os.path.lexists(old):
        delete(old)
    try:
        folder.rename(old)
    except FileNotFoundError:
        return
    delete(old)


def delete(path: Path) -> None:
    """Delete a folder and all that is in it, or whatever else is there; a link is not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def readable_bytes(count: int) -> str:
    """Return a size for people, in decimal units."""
    size, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if round(size, 1) < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
