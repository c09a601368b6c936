"""A job of a sweep with what has come of it: a line of ``summary.csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mmx.runs.draw import DRAW_KEYS, Draw

GroupLabel = tuple[tuple[str, str], ...]
"""What the runs of a group share: each key in which groups differ, with its value."""
Cell = str | float | bool | None
DONE = "done"


@dataclass(frozen=True)
class SweepRow:
    """One job.

    Attributes:
        job: Its overrides as typed.
        group: What it shares with the runs of its group.
        draw: Its seed and fold.
        run: Path of its run; empty where there is none.
        status: Of the run, or ``not started``.
        error: Why it failed, or does not count; empty otherwise.
        cells: Further columns: what varies, and the numbers of a finished run.
    """

    job: str
    group: GroupLabel
    draw: Draw
    run: str = ""
    status: str = "not started"
    error: str = ""
    cells: Mapping[str, Cell] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether its run is finished, and valid now."""
        return self.status == DONE

    @property
    def columns(self) -> dict[str, Cell]:
        """All columns of the line."""
        told = {"job": self.job, "run": self.run, "status": self.status, "error": self.error}
        return {**told, **self.cells}

    def find_number(self, name: str) -> float | None:
        """Return a number; None where it has none of that name."""
        value = self.cells.get(name)
        return value if isinstance(value, int | float) else None


def keep_finished(rows: Sequence[SweepRow]) -> list[SweepRow]:
    """Return the rows of finished runs, each run once."""
    done: dict[str, SweepRow] = {}
    for row in rows:
        if row.is_done:
            done.setdefault(row.run, row)
    return list(done.values())


def list_drawn(rows: Sequence[SweepRow]) -> list[str]:
    """Return the columns of seed, fold and repeat that differ between rows."""
    every = {key: {row.cells[key] for row in rows if key in row.cells} for key in DRAW_KEYS}
    return [key for key, values in every.items() if len(values) > 1]


def group_runs(rows: Sequence[SweepRow]) -> dict[GroupLabel, list[SweepRow]]:
    """Return finished runs that differ only in seed and fold, by the label that they share."""
    found: dict[GroupLabel, list[SweepRow]] = {}
    for row in keep_finished(rows):
        found.setdefault(row.group, []).append(row)
    return found
