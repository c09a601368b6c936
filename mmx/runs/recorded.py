"""digests.json: the size and digest of each file of a run, by which every reader sees damage.

While a run goes on it holds those files that stay as they are: the config and what it was made
from, the environment, the manifest. Of a run that was stopped it holds its metrics too, and of
one that is done every file, so that what is shown of it is what was found. Left out are what
says so itself (digests.json and status.json hold their own digest), what comes after
(predictions.csv, eval/) and the lock.

A file that is written anew, such as the manifest, may for a moment be the old or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from mmx.errors import DamagedFileError, UnreadableFileError
from mmx.json_object import Json
from mmx.runs.atomic import write_text
from mmx.runs.digests import SEAL, intact, looks_sealed, sealed_text
from mmx.untrusted import open_regular, parse_json, read_json, read_text

FILE = "digests.json"
MARK = "digests"
"""Under this name ``manifest.json`` says that there is such a file."""
CONFIG, MANIFEST, STATUS, METRICS = "config.yaml", "manifest.json", "status.json", "metrics.jsonl"
APART = (FILE, STATUS, ".lock", "predictions.csv")
LATER = ("eval",)
"""Folders of what is made of a finished run."""
CHECKPOINTS = "checkpoints"
_CHUNK = 2**20
Entry = Json


def begin(run: Path) -> None:
    """Record the files that a new run directory has, but those that will grow."""
    files = {name: _entry(run / name) for name in _names(run) if name != METRICS}
    _write(run, files, finished=False)


def go_on(run: Path) -> None:
    """Let a run that is worked on again change all but what it began with."""
    found = _read(run)
    if found is not None:
        _write(run, _kept(run, found), finished=False)


def stop(run: Path) -> None:
    """Record what a run that ends early leaves, for whoever goes on with it."""
    found = _read(run)
    if found is not None:
        left = (METRICS, "transfer.json", "auto.json")
        now = {name: _entry(run / name) for name in left if (run / name).is_file()}
        _write(run, {**_kept(run, found), **now}, finished=False)


def finish(run: Path) -> None:
    """Record every file of a run whose files are all written; the manifest's mark says so."""
    if _read(run) is not None:
        _write(run, {name: _entry(run / name) for name in _names(run)}, finished=True)


def replace(run: Path, name: str, text: str) -> None:
    """Write a recorded file anew, and record it; a kill at any moment leaves a run that opens."""
    found = _read(run)
    if found is not None:
        kept = _kept(run, found)
        new = {"bytes": len(text.encode()), "blake2b": _hash(text.encode()).hexdigest()}
        _write(run, kept, finished=False, coming={name: new})
    write_text(run / name, text)
    if found is not None:
        _write(run, {**kept, name: new}, finished=False)


def check_file(run: Path, names: Iterable[str]) -> None:
    """Hold files of a run against what was recorded of them.

    Files of which nothing was recorded, and runs of before there were digests, pass.

    Raises:
        DamagedFileError: One is not what mmx wrote; the first is named, with what to type.
    """
    found = _read(run)
    if found is None:
        return
    for name in names:
        known = [found[part].get(name) for part in ("files", "coming") if name in found[part]]
        if known:
            _check(run, name, known)


def check_all(run: Path, *, checkpoints: bool) -> None:
    """Hold all recorded files of a run against what was recorded of them.

    Args:
        run: The directory.
        checkpoints: Whether those too, which whoever reads them checks in any case.

    Raises:
        DamagedFileError: One is not what mmx wrote, or is missing.
    """
    found = _read(run)
    if found is not None:
        names = [*found["files"]]
        check_file(run, [n for n in names if checkpoints or not n.startswith(f"{CHECKPOINTS}/")])


def read_status(run: Path) -> Entry:
    """Return what ``status.json`` holds, without its digest.

    Raises:
        UnreadableFileError: It cannot be read.
        DamagedFileError: It is not what mmx wrote.
    """
    path = run / STATUS
    text = read_text(path)
    found: Entry = parse_json(text, dict, path)
    if looks_sealed(found) and not intact(text, found):
        raise _damaged(run, STATUS, "is not what mmx wrote")
    return {key: value for key, value in found.items() if key != SEAL}


def _names(run: Path) -> list[str]:
    """Return the files of a run that are recorded, by their paths from the run."""
    found = []
    for folder, inside, names in os.walk(run):
        here = Path(folder).relative_to(run)
        if here == Path():
            inside[:] = [name for name in inside if name not in LATER]
            names = [name for name in names if name not in APART]
        found += [(here / name).as_posix() for name in names]
    return sorted(found)


def _kept(run: Path, found: Entry) -> dict[str, Entry]:
    """Return what is recorded of the files that a run begins with.

    Of one whose writing a kill has cut short, which of the two it was.
    """
    files = {name: each for name, each in found["files"].items() if _from_the_start(name)}
    for name, entry in found["coming"].items():
        with contextlib.suppress(UnreadableFileError):
            if _entry(run / name) == entry:
                files[name] = entry
    return files


def _from_the_start(name: str) -> bool:
    return name in (CONFIG, "config.auto.yaml", MANIFEST, "env.txt", "code.patch") or (
        name.startswith(".hydra/")
    )


def _entry(path: Path) -> Entry:
    whole, size = _hash(b""), 0
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK):
            whole.update(chunk)
            size += len(chunk)
    return {"bytes": size, "blake2b": whole.hexdigest()}


def _hash(data: bytes) -> hashlib.blake2b:
    return hashlib.blake2b(data, digest_size=16)


def _write(
    run: Path, files: dict[str, Entry], *, finished: bool, coming: dict[str, Entry] | None = None
) -> None:
    data = {"format": 1, "finished": finished, "files": files, "coming": coming or {}}
    write_text(run / FILE, sealed_text(data))


def _read(run: Path) -> Entry | None:
    """Return what was recorded; None for a run of before there were digests.

    Raises:
        DamagedFileError: It is not what mmx wrote, or gone.
    """
    path = run / FILE
    try:
        text = read_text(path)
        found: Entry = parse_json(text, dict, path)
    except UnreadableFileError as error:
        if not error.missing:
            raise _damaged(run, FILE, error.reason) from error
        with contextlib.suppress(UnreadableFileError):
            if MARK not in read_json(run / MANIFEST, dict):
                return None
            raise _damaged(run, FILE, "is missing") from error
        return None
    if not (intact(text, found) and all(_is_listing(found.get(n)) for n in ("files", "coming"))):
        raise _damaged(run, FILE, "is not what mmx wrote")
    return found


def _is_listing(node: Any) -> bool:
    """Return whether something lists files of a run, and none elsewhere."""
    if not isinstance(node, dict) or not all(isinstance(each, dict) for each in node.values()):
        return False
    paths = [PurePosixPath(name) for name in node]
    return not any(path.is_absolute() or ".." in path.parts for path in paths)


def _check(run: Path, name: str, known: list[Entry]) -> None:
    try:
        with open_regular(run / name) as file:
            size = os.fstat(file.fileno()).st_size
        same = any(each.get("bytes") == size for each in known)
        entry = _entry(run / name) if same else None
    except UnreadableFileError as error:
        raise _damaged(run, name, "is missing" if error.missing else error.reason) from error
    except OSError as error:
        raise _damaged(run, name, f"cannot be read: {error.strerror}") from error
    if entry not in known:
        raise _damaged(run, name, "is not what mmx wrote: it was changed or damaged since")


def _damaged(run: Path, name: str, why: str) -> DamagedFileError:
    """Return an error that says how to get the numbers all the same."""
    typed, where = str(run), "in a new run"
    if name in (CONFIG, MANIFEST, FILE, "summary.json"):  # which a reproduction is held against
        typed = str(run / CONFIG)
        where = "with the config as it is now, in a new run" if name == CONFIG else where
    tip = f"mmx reproduce {shlex.quote(typed)}   ({where})"
    return DamagedFileError(f"{run / name} {why}", tip=tip)
