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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from rich.table import Table
from rich.text import Text

from mmx.csv_text import format_csv
from mmx.json_object import Json
from mmx.runs.atomic import make_folder, write_json, write_text
from mmx.runs.standing import Standing, Wanted, find_standing, read_numbers
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
GroupLabel = tuple[tuple[str, str], ...]
"""What the runs of a group share: each key in which groups differ, with its value."""
OUT_OF_DATE = "out of date"
GROUP = "group"
"""The entry of a row that is not a column of ``summary.csv``."""


@dataclass(frozen=True)
class Planned:
    """One job of a plan.

    Attributes:
        overrides: Its overrides as typed.
        label: The keys that distinguish its group from others, with their values.
        seed: Its seed.
        wanted: The job as it would run now.
    """

    overrides: tuple[str, ...]
    label: dict[str, str]
    seed: int
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

    def make_rows(self, jobs: Sequence[Planned]) -> list[Json]:
        """Return one row for each job of the plan, in its order.

        Numbers are shown only for a run that is valid now.
        """
        several = len({job.seed for job in jobs}) > 1
        return [self._make_row(job, {"seed": str(job.seed)} if several else {}) for job in jobs]

    def _make_row(self, job: Planned, seed: dict[str, str]) -> Json:
        found = self.find_standing(job.wanted)
        row: Json = {
            "job": join_overrides(job.overrides),
            "run": "",
            "status": "not started",
            "error": "",
            **job.label,
            **seed,
            GROUP: tuple(job.label.items()),
        }
        if found.done is not None:
            own = read_numbers(found.done.read_summary())
            shown = {name: value for name, value in own.items() if name not in row}
            return {**row, "run": str(found.done.path), "status": "done", **shown}
        last = found.unfinished or found.newest
        if last is None:
            return row
        status = last.status()
        word, error = str(status.get("status", "?")), " ".join(str(status.get("error", "")).split())
        if word == "done":  # finished, but not valid now
            word, error = OUT_OF_DATE, found.why
        return {**row, "run": str(last.path), "status": word, "error": error}

    def write_summary(self, rows: Sequence[Json]) -> None:
        """Write ``summary.csv``, one line for each job."""
        names = [name for name in dict.fromkeys(n for row in rows for n in row) if name != GROUP]
        lines: list[Sequence[Any]] = [names, *([row.get(name) for name in names] for row in rows)]
        write_text(self.path / "summary.csv", format_csv(lines))


def plan_sweep(output: Path, jobs: Sequence[Planned], where: Path | None) -> Sweep:
    """Return the sweep of these jobs, new or already started; write its plan.

    Args:
        output: Folder of all outputs.
        jobs: All of them.
        where: The sweep's directory, if the user named one.
    """
    text = "\n".join(sorted({job.wanted.key for job in jobs}))
    identity = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    sweep = Sweep(where or output / "sweeps" / identity)
    make_folder(sweep.runs)
    entries = [
        {"overrides": list(job.overrides), "fingerprint": job.wanted.key, "differs": job.label}
        for job in jobs
    ]
    write_json(sweep.path / "plan.json", {"jobs": entries})
    return sweep


def make_tables(rows: Sequence[Json]) -> list[Table]:
    """Return the table of all jobs and, over several seeds, that of their means.

    The first columns are the keys that vary between the jobs. A job that is the same experiment
    as an earlier one shares its run and is shown once. No table if no run has finished.
    """
    done = _keep_finished(rows)
    if not done:
        return []
    keys = list(dict.fromkeys(key for row in rows for key, _ in row[GROUP]))
    metrics = [name for name in METRICS if any(name in row for row in done)]
    if len({row["seed"] for row in rows if "seed" in row}) <= 1:
        return [_make_job_table(done, keys, [*metrics, "seconds"])]
    means = _make_mean_table(list(group_runs(rows).values()), keys, metrics)
    return [_make_job_table(done, keys, ["seed", *metrics, "seconds"]), means]


def _make_job_table(done: Sequence[Json], keys: Sequence[str], columns: Sequence[str]) -> Table:
    """Return a table with a line for each finished run: its group, then its numbers."""
    table = Table(*keys, *columns, title="Jobs", title_justify="left")
    for row in done:
        cells = [*_find_group_cells(row, keys), *(_format_cell(row.get(name)) for name in columns)]
        table.add_row(*map(Text, cells))  # a value such as [image,text] would be read as markup
    return table


def _make_mean_table(
    found: Sequence[Sequence[Json]], keys: Sequence[str], metrics: Sequence[str]
) -> Table:
    """Return a table with a line for each group: the mean of each metric over its seeds."""
    title = "Mean ± 95 % interval over seeds"
    table = Table(*keys, "seeds", *metrics, title=title, title_justify="left")
    for members in found:
        cells = [_format_mean([m[name] for m in members if name in m]) for name in metrics]
        group = _find_group_cells(members[0], keys)
        table.add_row(*map(Text, [*group, str(len(members)), *cells]))
    return table


def group_runs(rows: Sequence[Json]) -> dict[GroupLabel, list[Json]]:
    """Return finished runs that differ only in the seed, by the label that they share."""
    found: dict[GroupLabel, list[Json]] = {}
    for row in _keep_finished(rows):
        found.setdefault(row[GROUP], []).append(row)
    return found


def _find_group_cells(row: Json, keys: Sequence[str]) -> list[str]:
    label = dict(row[GROUP])
    return [label.get(key, "") for key in keys]


def _keep_finished(rows: Sequence[Json]) -> list[Json]:
    """Return the rows of finished runs, each run once."""
    done: dict[str, Json] = {}
    for row in rows:
        if row["status"] == "done":
            done.setdefault(row["run"], row)
    return list(done.values())


def _format_mean(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.3f}"
    from scipy.special import stdtrit

    t = float(stdtrit(len(values) - 1, 0.975))  # two-sided 95 % quantile of Student's t
    return f"{mean:.3f} ± {t * statistics.stdev(values) / math.sqrt(len(values)):.3f}"


def _format_cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
