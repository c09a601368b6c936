"""A run directory that is written to consists of files and folders, and of nothing else.

Nothing is written through a link, for it may lead anywhere: ``checkpoints`` to somebody's disk,
``status.json`` to a shell's start-up file. It is looked at before anything is written.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from mmx.errors import RunError
from mmx.runs.atomic import require_file, special

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
"""What must be files, where they are there."""
FOLDERS = (".hydra", "checkpoints", "eval")
"""What must be folders, where they are there."""
APPENDED = (".lock", "events.jsonl", "metrics.jsonl", "run.log")
"""What is added to, or emptied, in place: under all of its names at once."""
MOST = 100_000
"""Files and folders that a run directory may have."""


def require_plain_files(run: Path, *, appends: bool) -> None:
    """Look at everything in a run directory before something is written there.

    Args:
        run: The directory; it may itself be reached by a link, which the caller has named.
        appends: Whether files are added to in place, as a run that goes on does.

    Raises:
        RunError: There is a link, a pipe or a device, a folder in place of a file or the other
            way round, or far more than a run leaves.
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
    what = special(mode) or (None if file else "a file, where a folder is expected")
    if what is not None:
        raise RunError(
            f"{entry.path} is {what}: nothing is written to this run",
            tip=f"mmx reproduce {shlex.quote(str(run))}   (in a new directory)",
        )
