"""A check that a run directory consists only of regular files and folders.

A run directory may come from anybody, and a link in it may lead anywhere: ``checkpoints`` to
another disk, ``status.json`` to a shell's start-up file. So it is checked before a write.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from mmx.errors import RunError
from mmx.runs.atomic import describe_special, require_file

FILES = (
    ".lock",
    "auto.json",
    "config.auto.yaml",
    "config.yaml",
    "manifest.json",
    "metrics.jsonl",
    "predictions.csv",
    "report.html",
    "run.log",
    "scores.safetensors",
    "status.json",
    "summary.json",
    "traceback.txt",
    "transfer.json",
)
"""Names that must be files if they exist."""
FOLDERS = (".hydra", "adapters", "checkpoints", "eval", "explain")
"""Names that must be folders if they exist."""
APPENDED = (".lock", "events.jsonl", "metrics.jsonl", "run.log")
"""Files that are changed in place, so that a second name (a hard link) would change as well."""
MOST = 100_000
"""Most files and folders in a run directory."""


def require_plain_files(run: Path, *, appends: bool) -> None:
    """Check everything in a run directory before something is written there.

    Args:
        run: The directory; the path itself may contain links, since the user has typed it.
        appends: Whether files will be appended to, as by a run that is resumed.

    Raises:
        RunError: There is a link, a pipe or a device, a folder in place of a file or vice versa,
            or far more than a run contains.
    """
    seen, folders = 0, [run]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                seen += 1
                if seen > MOST:
                    raise RunError(f"{run} holds more than {MOST:,} files: it is no run of mmx")
                top = entry.path == os.path.join(run, entry.name)  # noqa: PTH118
                if entry.is_dir(follow_symlinks=False) and not (top and entry.name in FILES):
                    folders.append(Path(entry.path))
                    continue
                _require(entry, run, file=not (top and entry.name in FOLDERS))
                if appends and entry.name in APPENDED:
                    require_file(Path(entry.path), one_name=True)


def _require(entry: os.DirEntry[str], run: Path, *, file: bool) -> None:
    mode = entry.stat(follow_symlinks=False).st_mode
    what = describe_special(mode) or (None if file else "a file, where a folder is expected")
    if what is not None:
        raise RunError(
            f"{entry.path} is {what}: nothing is written to this run",
            tip=f"mmx reproduce {shlex.quote(str(run))}   (in a new directory)",
        )
