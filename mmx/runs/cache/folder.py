"""Artifacts as folders: where they are, how they are written at once, and checked."""

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
from mmx.runs.digests import SEAL, digest, is_intact, seal_text
from mmx.untrusted import MAX_BYTES, read_bytes

TENSORS, PROVENANCE = "tensors.safetensors", "provenance.json"
HEADER = "mmx"
"""The entry of the safetensors header that contains the key and the facts."""
SEALED_SINCE_FORMAT = 2
"""The format of ``provenance.json``; earlier files have neither a format nor a digest."""


class DamagedError(Exception):
    """An artifact is not what was written; the cache always handles this error itself."""


@dataclass(frozen=True)
class Artifact:
    """One artifact on disk.

    Attributes:
        path: Its folder, named by its key.
        what: What it is, for people.
        created: When it was made, in ISO format.
        seconds: How long it took to make, which each use saves.
        bytes: Its size on disk.
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
    """Return the folder of the cache, or None if it is off.

    Args:
        setting: ``auto``, ``off`` or a folder. ``auto`` is ``$MMX_CACHE_DIR``, which may be
            ``off`` too, or by default a folder in the user's cache directory.
    """
    if setting == "auto":
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        setting = os.environ.get("MMX_CACHE_DIR") or f"{cache}/mmx/artifacts"
    return None if setting == "off" else Path(setting).expanduser().absolute()


def find_folder(root: Path, kind: str, key: str) -> Path:
    """Return the folder of an artifact, whether it exists or not."""
    return root / kind / key[:2] / key


def list_artifacts(root: Path) -> list[Artifact]:
    """Return all artifacts, the least recently used first; other folders are left out."""
    found = []
    for path in root.glob("[!.]*/??/*"):
        if re.fullmatch(r"[0-9a-f]{32}", path.name) and path.name[:2] == path.parent.name:
            with contextlib.suppress(OSError):  # another process has removed it meanwhile
                found.append(_describe_artifact(path))
    return sorted(found, key=lambda artifact: (artifact.used, artifact.key))


def list_leftovers(root: Path) -> list[tuple[str, Path]]:
    """Return folders that killed processes left half written or half removed, with their keys."""
    named = (
        (re.fullmatch(r"\.([0-9a-f]{32})\.(new|old)", path.name), path)
        for path in root.glob("[!.]*/??/.*")
    )
    return [(found[1], path) for found, path in named if found]


def _describe_artifact(path: Path) -> Artifact:
    """Return the description of an artifact, even of a damaged one."""
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
        seconds=read_seconds(provenance),
        bytes=sum(file.lstat().st_size for file in files),
        used=dated.lstat().st_mtime,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def read_seconds(provenance: Json) -> float:
    """Return the seconds that an artifact took to make; 0 if the entry is not a number."""
    seconds = provenance.get("seconds")
    # type() instead of isinstance(): a bool is an int too.
    return float(seconds) if isinstance(seconds, float) or type(seconds) is int else 0.0


def touch(folder: Path) -> None:
    """Record that an artifact was used now; a read-only folder keeps its old time."""
    with contextlib.suppress(OSError):
        os.utime(folder / PROVENANCE)


def read_provenance(folder: Path) -> Json:
    """Return an artifact's ``provenance.json``.

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
    if not isinstance(found, dict) or _is_beyond_floats(found.get("seconds")):
        raise DamagedError(f"{PROVENANCE} cannot be read")
    is_sealed = found.keys() & {SEAL, "format"}
    if is_sealed and not (is_intact(text, found) and found.get("format") == SEALED_SINCE_FORMAT):
        raise DamagedError(f"{PROVENANCE} is not what was written")
    return found


def _is_beyond_floats(number: object) -> bool:
    # JSON allows integers of any size, and float() of a large one raises.
    return isinstance(number, int) and number.bit_length() > 64


def read_header(data: bytes) -> Json:
    """Return the key and the facts from the header of a safetensors file."""
    length = int.from_bytes(data[:8], "little")  # safetensors begins with its header's length
    text = json.loads(data[8 : 8 + length])["__metadata__"][HEADER]  # JSON within JSON
    found: Json = json.loads(text)
    return found


def read_content(folder: Path) -> bytes:
    """Return the bytes of an artifact's tensor file after checking them.

    Raises:
        DamagedError: It is not what was written under this key.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise DamagedError("it is no folder of its own")
    provenance = read_provenance(folder)
    size = provenance.get("bytes")
    if not isinstance(size, int) or _is_beyond_floats(size):
        raise DamagedError(f"{PROVENANCE} does not say how large it is")
    try:
        data = read_bytes(folder / TENSORS, limit=size, follow_links=False)
    except UnreadableFileError as error:
        raise DamagedError(f"{TENSORS} {error.reason}") from error
    if digest(data) != provenance.get("hash"):
        raise DamagedError(f"{TENSORS} is not what was written")
    try:
        same = read_header(data)["key"] == folder.name
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"{TENSORS} was not written by mmx") from error
    if not same:
        raise DamagedError(f"{TENSORS} belongs to another key")
    return data


def describe(data: bytes, provenance: Json) -> str:
    """Return the text of a ``provenance.json``."""
    facts = {**provenance, "bytes": len(data), "hash": digest(data)}
    return seal_text({**facts, "format": SEALED_SINCE_FORMAT}, ascii_only=True)


def write_artifact(folder: Path, data: bytes, description: str) -> None:
    """Write an artifact, atomically and durably; the caller holds its key's lock."""
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
        _sync(new)  # the files' names are durable before the folder appears
        new.rename(folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _sync(folder: Path) -> None:
    """Make the names in a folder durable, if the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def discard(folder: Path) -> None:
    """Remove an artifact, or what is in its place; the caller holds its key's lock.

    It is renamed first, so that no reader sees a part of it.
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
    """Delete a folder with its contents, or a file, or a link itself."""
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
