"""metrics.jsonl of a run under way: each stage's lines in the order of the stages.

A run that is resumed writes the lines of the epoch it goes on with again, and a stage whose
result was damaged all of its own: they take the place of those before, so that the file ends
as if nothing had happened.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from mmx.json_object import Json
from mmx.runs.atomic import append_text, write_text
from mmx.runs.directory import RunDirectory


class MetricsLog:
    """Writes the lines of one process.

    Args:
        directory: Of the run.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._path = directory.path / "metrics.jsonl"
        self._stages: set[str] = set()
        self._later: list[str] = []

    def add(self, stage: str, epoch: int, entries: Sequence[Json]) -> None:
        """Write lines of a stage and an epoch, in place of what was written of them before."""
        if stage not in self._stages:
            self._stages.add(stage)
            self._make_place(stage, epoch)
        lines = [json.dumps({"stage": stage, "epoch": epoch, **entry}) for entry in entries]
        if not self._later:
            append_text(self._path, _joined(lines))
            return
        known = [json.dumps(entry) for entry in self._directory.metrics()]
        place = len(known) - len(self._later)
        write_text(self._path, _joined([*known[:place], *lines, *known[place:]]))

    def _make_place(self, stage: str, epoch: int) -> None:
        """Drop the stage's lines of this epoch and later ones; keep what comes after them."""
        known = self._directory.metrics()
        again = [each["stage"] == stage and each["epoch"] >= epoch for each in known]
        place = again.index(True) if any(again) else len(known)
        lines = [json.dumps(each) for each in known]
        kept = [line for line, dropped in zip(lines, again, strict=True) if not dropped]
        self._later = kept[place:]
        write_text(self._path, _joined(kept))


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
