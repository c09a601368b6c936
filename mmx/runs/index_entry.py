"""One line of a list of runs, and which runs an output folder has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

PLACES = ("runs", "sweeps/*/runs")
UNREADABLE = "?"
"""The status of a run directory with a file that is not what mmx wrote."""


class IndexEntry(TypedDict):
    """One run, as ``mmx list`` shows it; unknown entries are None."""

    run: str
    status: str
    fingerprint: str | None
    code: str | None
    seed: int | None
    source: str | None
    target: str | None
    transfer: str | None
    regularizer: str | None
    fusion: str | None
    test: dict[str, float]
    gain: float | None
    seconds: float | None
    error: str | None


def list_run_names(root: Path) -> list[str]:
    """Return the run directories under ``root``, relative to it, sorted by name and so by time."""
    folders = [folder for place in PLACES for folder in root.glob(place)]
    begins = {str(folder): folder.relative_to(root).as_posix() for folder in folders}
    found = [(name, folder) for folder in begins for name in _list_names(folder)]
    return [f"{begins[folder]}/{name}" for name, folder in sorted(found)]


def _list_names(folder: str) -> Iterator[str]:
    """Return the names of run directories in a folder, without those in the making."""
    # Plain strings: with Path, listing 10,000 runs would take four times as long.
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except OSError:
        return
    for name in names:
        if not name.startswith(".") and os.path.exists(f"{folder}/{name}/config.yaml"):  # noqa: PTH110
            yield name
