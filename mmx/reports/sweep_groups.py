"""The groups of a sweep, read from its folder: the label and the runs of each."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from mmx import untrusted
from mmx.csv_text import unescape_cell
from mmx.errors import DataError, MmxError, RunError, UnreadableFileError, UsageError
from mmx.reports.pairing import Side, pair_sides
from mmx.reports.run_groups import note_damaged
from mmx.runs.directory import RunDirectory
from mmx.runs.draw import Draw, describe_draws

PLAN = "plan.json"
SUMMARY = "summary.csv"


def is_sweep(path: Path) -> bool:
    """Return whether a folder is that of a sweep, and of no run."""
    return (path / PLAN).is_file() and (path / "runs").is_dir()


def read_groups(path: Path, left_out: list[str] | None = None) -> list[Side]:
    """Return the groups of a sweep, each with its finished runs, in the order of the plan.

    Args:
        path: The sweep's folder.
        left_out: Receives a note on each damaged run; None does not look for damage.

    Raises:
        RunError: What it holds is not what mmx wrote, or no table of it was written yet.
    """
    jobs = _read_labels(path / PLAN)
    rows = _read_rows(path / SUMMARY)
    if len(jobs) != len(rows):
        raise RunError(
            f"{path / SUMMARY} has {len(rows)} jobs and {path / PLAN} {len(jobs)}: the sweep is "
            "at work, or was stopped",
            tip="run the command of the sweep again: it goes on with what is not done",
        )
    found: dict[str, dict[str, RunDirectory]] = {}
    for label, row in zip(jobs, rows, strict=True):
        if row.get("status") == "done":
            name = Path(row.get("run", "")).name
            run = RunDirectory.open(path / "runs" / name)
            if left_out is not None and (damage := _find_damage(run)):
                left_out.append(damage)
                continue
            found.setdefault(label, {})[name] = run  # one run may be the answer of two jobs
    return [Side(name, list(runs.values())) for name, runs in found.items()]


def _find_damage(run: RunDirectory) -> str:
    """Return the note on a damaged run; empty for any other."""
    try:
        run.require_undamaged()
    except RunError as error:
        return note_damaged(error, run.path)
    return ""


def keep_common_draws(sides: Sequence[Side]) -> tuple[list[Side], str]:
    """Return the groups with the seeds and folds that all of them have, and a note on others.

    Raises:
        UsageError: There is one group.
        DataError: No seed or fold is common to all.
    """
    _require_two_groups(sides)
    draws = [{Draw.of(run.read_summary()): run for run in side.runs} for side in sides]
    common = find_common(draws)
    kept = [
        Side(side.name, [each[draw] for draw in common])
        for side, each in zip(sides, draws, strict=True)
    ]
    every = dict.fromkeys(draw for each in draws for draw in each)
    left = [draw for draw in every if draw not in common]
    note = f"left out, since not every group has them: {describe_draws(left)}" if left else ""
    return kept, note


def can_be_compared(path: Path) -> bool:
    """Return whether ``mmx compare`` of a sweep's folder has two groups or more to compare."""
    try:
        (first, *others), _ = keep_common_draws(read_groups(path))
        for each in others:
            pair_sides(first, each)
    except MmxError:  # which the command would say, such as other test rows
        return False
    return True


def find_common(draws: Sequence[Collection[Draw]]) -> list[Draw]:
    """Return the draws that all groups have, in the order of the first; DataError without any."""
    common = [draw for draw in draws[0] if all(draw in each for each in draws)]
    if not common:
        unit = "fold" if any(draw.folds for each in draws for draw in each) else "seed"
        raise DataError(
            f"no {unit} has a finished run in each group of the sweep",
            tip="run the command of the sweep again: it goes on with what is not done",
        )
    return common


def _require_two_groups(sides: Sequence[Side]) -> None:
    """Raise UsageError where there is at most one group; it says which of its runs to compare."""
    if len(sides) >= 2:
        return
    runs = [str(run.path) for side in sides for run in side.runs]
    raise UsageError(
        f"the sweep has {'one group' if sides else 'no group'} with finished runs, of "
        f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}: there is nothing to compare",
        tip=f"mmx compare {runs[0]} {runs[1]}" if len(runs) > 1 else "mmx list",
    )


def _read_labels(path: Path) -> list[str]:
    """Return the label of the group of each job of a plan."""
    try:
        jobs: Any = untrusted.read_json(path, dict).get("jobs")
    except UnreadableFileError as error:
        raise RunError(error.message, tip=error.tip) from error
    found = [each.get("differs") if isinstance(each, dict) else None for each in _as_list(jobs)]
    if not found or not all(isinstance(label, dict) for label in found):
        raise RunError(
            f"{path} does not say in what its jobs differ: an older mmx made it",
            tip="run the command of the sweep again: what is done is not repeated",
        )
    return [" ".join(f"{k}={v}" for k, v in label.items()) for label in found if label is not None]


def _read_rows(path: Path) -> list[dict[str, str]]:
    """Return the lines of a sweep's table."""
    try:
        text = untrusted.read_text(path)
        lines = [[unescape_cell(cell) for cell in line] for line in csv.reader(io.StringIO(text))]
    except UnreadableFileError as error:
        tip = "run the command of the sweep again: it goes on with what is not done"
        raise RunError(error.message, tip=tip) from error
    except csv.Error as error:
        raise RunError(f"{path} is no table: {error}") from error
    return [dict(zip(lines[0], line, strict=False)) for line in lines[1:]]


def _as_list(node: Any) -> list[Any]:
    return node if isinstance(node, list) else []
