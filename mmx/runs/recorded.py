"""``digests.json``: the size and digest of each file of a run, so that damage is noticed.

While a run goes on, it lists the files that do not change: the config and what it was made from,
the environment, and the manifest. When a run is stopped its metrics are added, and when it is
done every file, so that what is shown of it is what was written. Not listed are digests.json and
status.json, which contain their own digest, what is made later (predictions.csv, eval/), and the
lock.

While a listed file such as the manifest is rewritten, its old and its new digest are both valid.
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
from mmx.runs.digests import SEAL, is_intact, looks_sealed, seal_text
from mmx.untrusted import open_regular, parse_json, read_json, read_text, read_yaml

FILE = "digests.json"
MARK = "digests"
"""The entry of ``manifest.json`` that says that there is such a file."""
CONFIG, MANIFEST, STATUS, METRICS = "config.yaml", "manifest.json", "status.json", "metrics.jsonl"
APART = (FILE, STATUS, ".lock", "predictions.csv")
LATER = ("eval",)
"""Folders that are written after a run has finished."""
CHECKPOINTS = "checkpoints"
_CHUNK = 2**20
Entry = Json


def begin(run: Path) -> None:
    """Record the files of a new run directory, except those that will grow."""
    files = {name: _entry(run / name) for name in _list_names(run) if name != METRICS}
    _write(run, files, finished=False)


def go_on(run: Path) -> None:
    """Let a resumed run change all files except its initial ones."""
    found = _read(run)
    if found is not None:
        _write(run, _keep_initial(run, found), finished=False)


def stop(run: Path) -> None:
    """Record the files of a run that ends early, for when it is resumed."""
    found = _read(run)
    if found is not None:
        left = (METRICS, "transfer.json", "auto.json")
        now = {name: _entry(run / name) for name in left if (run / name).is_file()}
        _write(run, {**_keep_initial(run, found), **now}, finished=False)


def finish(run: Path) -> None:
    """Record every file of a finished run; nothing for runs made before there were digests."""
    if _read(run) is not None:
        _write(run, {name: _entry(run / name) for name in _list_names(run)}, finished=True)


def replace(run: Path, name: str, text: str) -> None:
    """Rewrite a recorded file and its record; the run can be opened after a kill at any moment."""
    found = _read(run)
    if found is not None:
        kept = _keep_initial(run, found)
        new = {"bytes": len(text.encode()), "blake2b": _hash(text.encode()).hexdigest()}
        # From here to the last write, both the old and the new content of the file are valid.
        _write(run, kept, finished=False, coming={name: new})
    write_text(run / name, text)
    if found is not None:
        _write(run, {**kept, name: new}, finished=False)


def rewrite(run: Path, name: str, text: str) -> None:
    """Rewrite a file of a finished run, such as its report, and its record; the others stay."""
    found = _read(run)
    if found is None or not found.get("finished"):
        write_text(run / name, text)
        return
    new = {"bytes": len(text.encode()), "blake2b": _hash(text.encode()).hexdigest()}
    _write(run, found["files"], finished=True, coming={name: new})
    write_text(run / name, text)
    _write(run, {**found["files"], name: new}, finished=True)


def check_file(run: Path, names: Iterable[str]) -> None:
    """Check files of a run against their recorded digests.

    Files without a record, and runs made before there were digests, pass.

    Raises:
        DamagedFileError: One is not what mmx wrote; names the first, and what to type.
    """
    found = _read(run)
    if found is None:
        return
    for name in names:
        while True:
            try:
                _check(run, name, found)
            except DamagedFileError:
                # A run that goes on may have rewritten the file and its record in between.
                before, found = found, _read(run)
                if found is None or found == before:
                    raise
            else:
                break


def check_all(run: Path, *, checkpoints: bool) -> None:
    """Check all recorded files of a run against their digests.

    Args:
        run: The directory.
        checkpoints: Whether to check checkpoints too, although each read checks them anyway.

    Raises:
        DamagedFileError: One is not what mmx wrote, or is missing.
    """
    found = _read(run)
    if found is not None:
        names = [*found["files"]]
        check_file(run, [n for n in names if checkpoints or not n.startswith(f"{CHECKPOINTS}/")])


def read_status(run: Path) -> Entry:
    """Return the content of ``status.json`` without its digest.

    Raises:
        UnreadableFileError: It cannot be read.
        DamagedFileError: It is not what mmx wrote.
    """
    path = run / STATUS
    text = read_text(path)
    found: Entry = parse_json(text, dict, path)
    if looks_sealed(found) and not is_intact(text, found):
        raise _damage_error(run, STATUS, "is not what mmx wrote")
    return {key: value for key, value in found.items() if key != SEAL}


def _list_names(run: Path) -> list[str]:
    """Return the files of a run that are recorded, by their paths relative to the run."""
    found = []
    for folder, inside, names in os.walk(run):
        here = Path(folder).relative_to(run)
        if here == Path():
            inside[:] = [name for name in inside if name not in LATER]
            names = [name for name in names if name not in APART]
        found += [(here / name).as_posix() for name in names]
    return sorted(found)


def _keep_initial(run: Path, found: Entry) -> dict[str, Entry]:
    """Return the records of the files that a run begins with.

    If a kill has interrupted the rewriting of a file, its record is the one that matches the file.
    """
    files = {name: each for name, each in found["files"].items() if _is_initial(name)}
    for name, entry in found["coming"].items():
        with contextlib.suppress(UnreadableFileError):
            if _entry(run / name) == entry:
                files[name] = entry
    return files


def _is_initial(name: str) -> bool:
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
    write_text(run / FILE, seal_text(data))


def _read(run: Path) -> Entry | None:
    """Return the content of the file; None for a run made before there were digests.

    Raises:
        DamagedFileError: It is not what mmx wrote, or is missing.
    """
    path = run / FILE
    try:
        text = read_text(path)
        found: Entry = parse_json(text, dict, path)
    except UnreadableFileError as error:
        if not error.missing:
            raise _damage_error(run, FILE, error.reason) from error
        with contextlib.suppress(UnreadableFileError):
            if MARK not in read_json(run / MANIFEST, dict):
                return None
            raise _damage_error(run, FILE, "is missing") from error
        return None
    if not (is_intact(text, found) and all(_is_listing(found.get(n)) for n in ("files", "coming"))):
        raise _damage_error(run, FILE, "is not what mmx wrote")
    return found


def _is_listing(node: Any) -> bool:
    """Return whether something is a list of files inside the run."""
    if not isinstance(node, dict) or not all(isinstance(each, dict) for each in node.values()):
        return False
    paths = [PurePosixPath(name) for name in node]
    return not any(path.is_absolute() or ".." in path.parts for path in paths)


def _check(run: Path, name: str, found: Entry) -> None:
    """Raise DamagedFileError where a file is neither what its record says, nor what is coming."""
    known = [found[part][name] for part in ("files", "coming") if name in found[part]]
    if not known:
        return
    try:
        with open_regular(run / name) as file:
            size = os.fstat(file.fileno()).st_size
        # The size is compared first: a large file of another size need not be read.
        same = any(each.get("bytes") == size for each in known)
        entry = _entry(run / name) if same else None
    except UnreadableFileError as error:
        raise _damage_error(run, name, "is missing" if error.missing else error.reason) from error
    except OSError as error:
        raise _damage_error(run, name, f"cannot be read: {error.strerror}") from error
    if entry not in known:
        raise _damage_error(run, name, "is not what mmx wrote: it was changed or damaged since")


def _damage_error(run: Path, name: str, why: str) -> DamagedFileError:
    """Return an error that says how to compute the numbers again."""
    # A reproduction compares itself with these files, so only the config is passed to it.
    if name in (CONFIG, MANIFEST, FILE, "summary.json"):
        where = "with the config as it is now, in a new run" if name == CONFIG else "in a new run"
        tip = advise_anew(run, where)
    else:
        tip = f"mmx reproduce {shlex.quote(str(run))}   (in a new run)"
    return DamagedFileError(f"{run / name} {why}", tip=tip)


def advise_anew(run: Path, where: str = "in a new run") -> str:
    """Return what to type to compute a run again from its config alone, or to be rid of it.

    Args:
        run: The directory.
        where: What to say of it.
    """
    try:
        read_yaml(run / CONFIG, dict)
    except UnreadableFileError:
        return f"mmx rm {shlex.quote(str(run))}   (its config cannot be read)"
    return f"mmx reproduce {shlex.quote(str(run / CONFIG))}   ({where})"
