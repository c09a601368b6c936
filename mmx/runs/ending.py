"""The end of a run that stops early, also on a full disk.

Nothing here raises errors of the disk: the error that ended the run is the one to report.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from mmx.errors import MmxError, RunError
from mmx.runs import recorded
from mmx.runs.atomic import FULL
from mmx.runs.digests import seal_text
from mmx.runs.directory import RunDirectory

_HALF_WRITTEN = re.compile(r"\..+\.(new|(?P<pid>\d+)(-[0-9a-f]+)?)")
_SHORT = 1000
"""Characters of an error that fit into the disk block that the status file already occupies."""


def explain_full_disk(error: Exception, path: Path, again: str) -> Exception:
    """Return an error about a full disk as one that says what to type; others unchanged.

    Args:
        error: The error.
        path: What was written, where the error does not say.
        again: What to type once there is room.
    """
    if not (isinstance(error, OSError) and error.errno in FULL):
        return error
    where = error.filename or path
    return RunError(f"no room to write {where}: {error.strerror}", tip=f"make room, then {again}")


def end_run(
    directory: RunDirectory, status: str, *, trace: str | None = None, **facts: object
) -> None:
    """Write a run's last status, and why it failed, as far as the disk permits.

    Args:
        directory: The run's directory.
        status: interrupted or failed.
        trace: The content of ``traceback.txt``; None for no such file.
        facts: Further entries of the status.
    """
    remove_half_written(directory.path)
    try:
        directory.set_status(status, **facts)
    except OSError:  # probably a full disk: remove what was begun, and write less
        remove_half_written(directory.path)
        short = {name: v[:_SHORT] if isinstance(v, str) else v for name, v in facts.items()}
        with contextlib.suppress(OSError, RunError):
            _write_in_place(directory, {"status": status, **short})
    with contextlib.suppress(OSError, MmxError):
        recorded.stop(directory.path)
    if trace is not None:
        path = directory.path / "traceback.txt"
        try:
            path.write_text(trace, encoding="utf-8")
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()


def _write_in_place(directory: RunDirectory, facts: dict[str, object]) -> None:
    """Overwrite the status in place, which needs no new space; it must not stay ``running``."""
    text = seal_text({**directory.status(), **facts})
    with (directory.path / "status.json").open("r+b") as file:
        file.write(text.encode())
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def remove_half_written(folder: Path) -> None:
    """Remove temporary files of unfinished writes of this process or of dead ones."""
    for parent, _, names in os.walk(folder):
        for name in names:
            found = _HALF_WRITTEN.fullmatch(name)
            if found and not _alive(found["pid"]):
                with contextlib.suppress(OSError):
                    Path(parent, name).unlink()


def _alive(pid: str | None) -> bool:
    """Return whether another process with this number exists, which may still be writing."""
    if pid is None or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
