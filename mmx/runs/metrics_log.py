"""``metrics.jsonl`` of a run under way: each stage's lines in the order of the stages.

A resumed run writes the lines of its current epoch again, and a stage that is repeated because
its result was damaged writes all of its lines again. They replace the earlier ones, so that the
file ends up the same as in an uninterrupted run.
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
        directory: The run's directory.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._path = directory.path / "metrics.jsonl"
        self._stages: set[str] = set()
        self._later: list[str] = []

    def add(self, stage: str, epoch: int, entries: Sequence[Json]) -> None:
        """Write lines of a stage and an epoch, replacing earlier ones."""
        if stage not in self._stages:
            self._stages.add(stage)
            self._make_place(stage, epoch)
        lines = [json.dumps({"stage": stage, "epoch": epoch, **entry}) for entry in entries]
        if not self._later:
            append_text(self._path, _join_lines(lines))
            return
        known = [json.dumps(entry) for entry in self._directory.metrics()]
        place = len(known) - len(self._later)
        write_text(self._path, _join_lines([*known[:place], *lines, *known[place:]]))

    def _make_place(self, stage: str, epoch: int) -> None:
        """Drop the stage's lines of this epoch and later ones; keep the lines after them."""
        known = self._directory.metrics()
        again = [each["stage"] == stage and each["epoch"] >= epoch for each in known]
        place = again.index(True) if any(again) else len(known)
        lines = [json.dumps(each) for each in known]
        kept = [line for line, dropped in zip(lines, again, strict=True) if not dropped]
        self._later = kept[place:]
        write_text(self._path, _join_lines(kept))


def _join_lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
