"""A sweep on disk: its plan, its runs, and one table at the end.

    outputs/sweeps/<id>/  plan.json  runs/  summary.csv

The id is a digest of the jobs, so that the same command finds its earlier runs. Whether a job is
done is decided anew each time: the run must have the present config, data, code and weights.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from filelock import FileLock
from rich.table import Table
from rich.text import Text

from mmx.csv_text import format_csv
from mmx.evaluation.folds import average_parts, find_half_width_of_folds
from mmx.runs.atomic import make_folder, write_json, write_text
from mmx.runs.draw import DRAW_KEYS, Draw, count_folds
from mmx.runs.mean_cells import FEWEST, MEANS, format_mean_cell
from mmx.runs.standing import Standing, Wanted, find_standing, read_numbers
from mmx.runs.sweep_process import allow_again
from mmx.runs.sweep_row import DONE, Cell, SweepRow, group_runs, keep_finished, list_drawn
from mmx.runs.variation import join_overrides

METRICS = (
    "val.accuracy",
    "val.r2",
    "test.accuracy",
    "test.f1_macro",
    "test.r2",
    "test.mse",
    "gain",
)
OUT_OF_DATE = "out of date"


@dataclass(frozen=True)
class Planned:
    """One job of a plan.

    Attributes:
        overrides: Its overrides as typed.
        label: The keys that distinguish its group from others, with their values.
        draw: Its seed and fold.
        wanted: The job as it would run now.
    """

    overrides: tuple[str, ...]
    label: dict[str, str]
    draw: Draw
    wanted: Wanted


@dataclass(frozen=True)
class Sweep:
    """One sweep.

    Attributes:
        path: Its directory.
    """

    path: Path

    @property
    def runs(self) -> Path:
        """Return the folder of its runs."""
        return self.path / "runs"

    @contextmanager
    def claim(self, key: str) -> Iterator[None]:
        """Lock a job, so that a parallel process with the same job waits.

        Args:
            key: The job's key; see :class:`~mmx.runs.standing.Wanted`.
        """
        locks = self.path / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(str(locks / key)):
            yield

    def find_standing(self, wanted: Wanted) -> Standing:
        """Return what the sweep already has for a job."""
        return find_standing(self.runs, wanted)

    def make_rows(self, jobs: Sequence[Planned]) -> list[SweepRow]:
        """Return one row for each job of the plan, in its order.

        Numbers are shown only for a run that is valid now.
        """
        varied = [key for key in DRAW_KEYS if len({getattr(job.draw, key) for job in jobs}) > 1]
        return [
            self._make_row(job, {key: str(getattr(job.draw, key)) for key in varied})
            for job in jobs
        ]

    def _make_row(self, job: Planned, drawn: dict[str, str]) -> SweepRow:
        found, varied = self.find_standing(job.wanted), {**job.label, **drawn}
        row = SweepRow(
            join_overrides(job.overrides), tuple(job.label.items()), job.draw, cells=varied
        )
        if found.done is not None:
            cells = {**read_numbers(found.done.read_summary()), **varied}
            cells = {name: cells[name] for name in (*varied, *cells)}  # what varies comes first
            return replace(row, run=str(found.done.path), status=DONE, cells=cells)
        last = found.unfinished or found.newest
        if last is None:
            return row
        status = last.status()
        word, error = str(status.get("status", "?")), " ".join(str(status.get("error", "")).split())
        if word == DONE:  # finished, but not valid now
            word, error = OUT_OF_DATE, found.why
        return replace(row, run=str(last.path), status=word, error=error)

    def write_summary(self, rows: Sequence[SweepRow]) -> None:
        """Write ``summary.csv``, one line for each job."""
        every = [row.columns for row in rows]
        names = list(dict.fromkeys(name for columns in every for name in columns))
        lines = [[columns.get(name) for name in names] for columns in every]
        write_text(self.path / "summary.csv", format_csv([names, *lines]))


def find_sweep(output: Path, jobs: Sequence[Planned], where: Path | None) -> Sweep:
    """Return the sweep of these jobs, which need not exist.

    Args:
        output: Folder of all outputs.
        jobs: All of them.
        where: The sweep's directory, if the user named one.
    """
    # Sorted, and each once: values typed in another order are the same sweep.
    text = "\n".join(sorted({job.wanted.key for job in jobs}))
    identity = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return Sweep(where or output / "sweeps" / identity)


def plan_sweep(
    output: Path, jobs: Sequence[Planned], where: Path | None, argv: Sequence[str] = ()
) -> Sweep:
    """Return the sweep of these jobs, new or already started; write its plan.

    Args:
        output: Folder of all outputs.
        jobs: All of them.
        where: The sweep's directory, if the user named one.
        argv: The command line as it was typed.
    """
    sweep = find_sweep(output, jobs, where)
    make_folder(sweep.runs)
    allow_again(sweep.path)
    entries = [
        {
            "overrides": list(job.overrides),
            "fingerprint": job.wanted.key,
            "experiment": job.wanted.fingerprint,
            "differs": job.label,
        }
        for job in jobs
    ]
    typed = {"argv": list(argv), "cwd": str(Path.cwd())} if argv else {}
    write_json(sweep.path / "plan.json", {**typed, "jobs": entries})
    return sweep


def make_tables(rows: Sequence[SweepRow]) -> list[Table]:
    """Return the table of all jobs and, over several seeds or folds, that of their means.

    The first columns are the keys that vary between the jobs. A job that is the same experiment
    as an earlier one shares its run and is shown once. No table if no run has finished.
    """
    done = keep_finished(rows)
    if not done:
        return []
    keys = list(dict.fromkeys(key for row in rows for key, _ in row.group))
    metrics = _list_metrics(done)
    drawn = list_drawn(rows)
    jobs = _make_job_table(done, keys, [*drawn, *metrics, "seconds"])
    if not drawn:
        return [jobs]
    return [jobs, _make_mean_table(list(group_runs(rows).values()), keys, metrics)]


def _list_metrics(done: Sequence[SweepRow]) -> list[str]:
    """Return the metrics that some run has, with those that gains are in by ``metric=``."""
    chosen = dict.fromkeys(row.cells["metric"] for row in done if "metric" in row.cells)
    names = [f"{split}.{metric}" for metric in chosen for split in ("val", "test")]
    every = [*METRICS[:-1], *names, METRICS[-1]]
    return [name for name in every if any(name in row.cells for row in done)]


def _make_job_table(done: Sequence[SweepRow], keys: Sequence[str], columns: Sequence[str]) -> Table:
    """Return a table with a line for each finished run: its group, then its numbers."""
    table = Table(*keys, *columns, title="Jobs", title_justify="left")
    for row in done:
        numbers = [_format_cell(row.cells.get(name)) for name in columns]
        cells = [*_find_group_cells(row, keys), *numbers]
        table.add_row(*map(Text, cells))  # a value such as [image,text] would be read as markup
    return table


def _make_mean_table(
    found: Sequence[Sequence[SweepRow]], keys: Sequence[str], metrics: Sequence[str]
) -> Table:
    """Return a table with a line for each group: the mean of each metric over seeds or folds."""
    draws = [[member.draw for member in members] for members in found]
    over = " and ".join(sorted({"folds" if count_folds(each) else "seeds" for each in draws}))
    title = f"Mean over {over} ({MEANS})"
    table = Table(*keys, over, *metrics, title=title, title_justify="left")
    for members, each in zip(found, draws, strict=True):
        folds = count_folds(each)
        cells = [_format_mean(members, name, folds) for name in metrics]
        count = len({draw.part for draw in each}) if folds else len(members)
        table.add_row(*map(Text, [*_find_group_cells(members[0], keys), str(count), *cells]))
    return table


def _find_group_cells(row: SweepRow, keys: Sequence[str]) -> list[str]:
    label = dict(row.group)
    return [label.get(key, "") for key in keys]


def format_group_mean(members: Sequence[SweepRow], name: str) -> str:
    """Return the mean of a metric over the seeds or folds of a group, with its interval."""
    return _format_mean(members, name, count_folds([row.draw for row in members]))


def _format_mean(members: Sequence[SweepRow], name: str, folds: int) -> str:
    """Return the mean of a metric, with its interval: over ``folds`` folds, or over seeds if 0."""
    shown = [
        (member, value) for member in members if (value := member.find_number(name)) is not None
    ]
    values = [value for _, value in shown]
    if not values:
        return ""
    if folds:
        parts = [member.draw.part for member, _ in shown]
        each = average_parts(np.array(values, dtype=np.float64), parts)
        half = find_half_width_of_folds(each, folds, 0.95) if len(each) > 1 else None
        return format_mean_cell(float(each.mean()), half, each.tolist(), "{:.3f}".format)
    mean, half = statistics.fmean(values), None
    if len(values) >= FEWEST:
        from scipy.special import stdtrit

        t = float(stdtrit(len(values) - 1, 0.975))  # two-sided 95 % quantile of Student's t
        half = t * statistics.stdev(values) / math.sqrt(len(values))
    return format_mean_cell(mean, half, values, "{:.3f}".format)


def _format_cell(value: Cell) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
