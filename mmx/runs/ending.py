"""What a run leaves behind when it ends early, also on a disk that is full.

Nothing here raises what a disk can raise: the error that ended the run is the one that counts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
from pathlib import Path

from mmx.errors import MmxError, RunError
from mmx.runs import recorded
from mmx.runs.digests import sealed_text
from mmx.runs.directory import RunDirectory

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What writing fails with where there is no room."""
_HALF_WRITTEN = re.compile(r"\..+\.(new|(?P<pid>\d+)(-[0-9a-f]+)?)")
_SHORT = 1000
"""Letters of an error that fit into the block that a status takes already."""


def explained(error: Exception, directory: RunDirectory) -> Exception:
    """Return a disk that is full as an error that says so, and any other as it is."""
    if not (isinstance(error, OSError) and error.errno in FULL):
        return error
    where = error.filename or directory.path
    tip = f"make room, then mmx resume {shlex.quote(str(directory.path))}"
    return RunError(f"no room to write {where}: {error.strerror}", tip=tip)


def end(directory: RunDirectory, status: str, *, trace: str | None = None, **facts: object) -> None:
    """Write a run's last status, and why it failed, as far as the disk lets it.

    Args:
        directory: Of the run.
        status: interrupted or failed.
        trace: What ``traceback.txt`` is to hold.
        facts: Of the status.
    """
    remove_half_written(directory.path)
    try:
        directory.set_status(status, **facts)
    except OSError:
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
    """Write over a status in the room that it takes already; else it would say ``running``."""
    text = sealed_text({**directory.status(), **facts})
    with (directory.path / "status.json").open("r+b") as file:
        file.write(text.encode())
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def remove_half_written(folder: Path) -> None:
    """Remove the temporary files of writes that were cut off, by this process or a dead one."""
    for parent, _, names in os.walk(folder):
        for name in names:
            found = _HALF_WRITTEN.fullmatch(name)
            if found and not _alive(found["pid"]):
                with contextlib.suppress(OSError):
                    Path(parent, name).unlink()


def _alive(pid: str | None) -> bool:
    """Return whether another process that may still be writing has this number."""
    if pid is None or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
