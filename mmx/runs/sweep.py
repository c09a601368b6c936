"""A sweep on disk: its plan, its runs, and one table at the end.

    outputs/sweeps/<id>/  plan.json  runs/  summary.csv

The id follows from the jobs, so the same command finds what it has done before.
"""

from __future__ import annotations

import hashlib
import math
import shlex
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from rich.table import Table
from rich.text import Text

from mmx.csv_text import csv_text
from mmx.runs.atomic import make_folder, read_json, write_json, write_text
from mmx.runs.directory import RunDirectory
from mmx.runs.manifest import code_digest

METRICS = (
    "val.accuracy",
    "val.r2",
    "test.accuracy",
    "test.f1_macro",
    "test.r2",
    "test.mse",
    "gain",
)
Group = tuple[tuple[str, str], ...]
"""What the runs of a group share: each varied key but the seed, and its value."""


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
    def claim(self, fingerprint: str) -> Iterator[Path | None]:
        """Hold an experiment for this job; yield the run that has done it already, if any.

        Two jobs of the same experiment, in parallel, wait for each other.
        """
        locks = self.path / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(str(locks / fingerprint)):
            done = self._newest(fingerprint, done=True)
            yield done.path if done else None

    def _newest(self, fingerprint: str, *, done: bool = False) -> RunDirectory | None:
        for path in sorted(self.runs.glob("*/manifest.json"), reverse=True):
            directory = RunDirectory(path.parent)
            manifest = directory.manifest()
            same = manifest.get("fingerprint") == fingerprint
            same = same and manifest.get("code", {}).get("digest") == code_digest()
            if same and (not done or directory.status().get("status") == "done"):
                return directory
        return None

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each job of the plan, in its order."""
        rows = []
        jobs = read_json(self.path / "plan.json").get("jobs", [])
        varied = _varied([job["overrides"] for job in jobs])
        for job in jobs:
            fingerprint = job["fingerprint"]
            directory = self._newest(fingerprint, done=True) or self._newest(fingerprint)
            row: dict[str, Any] = {"job": job["overrides"], "run": "", "status": "not started"}
            row["error"] = ""
            settings = _settings(job["overrides"])
            row.update({key: settings.get(key, "") for key in varied})
            if directory is not None:
                status, summary = directory.status(), directory.summary()
                row.update(run=str(directory.path), status=status.get("status", "?"))
                row["error"] = " ".join(str(status.get("error", "")).split())
                row.update(_numbers(summary) if summary else {})
            rows.append(row)
        return rows

    def write_summary(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write ``summary.csv``, one line for each job."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        lines: list[Sequence[Any]] = [names, *([row.get(name) for name in names] for row in rows)]
        write_text(self.path / "summary.csv", csv_text(lines))


def plan(output: Path, jobs: Sequence[tuple[str, str]], where: Path | None) -> Sweep:
    """Return the sweep of these jobs, new or begun before.

    Args:
        output: Folder of all outputs.
        jobs: Overrides and fingerprint of each job.
        where: The sweep's directory, if the user named one.
    """
    text = "\n".join(sorted({f"{fingerprint}" for _, fingerprint in jobs}))
    identity = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    sweep = Sweep(where or output / "sweeps" / identity)
    make_folder(sweep.runs)
    entries = [{"overrides": text, "fingerprint": fingerprint} for text, fingerprint in jobs]
    write_json(sweep.path / "plan.json", {"jobs": entries})
    return sweep


def _numbers(summary: dict[str, Any]) -> dict[str, Any]:
    target = summary["target"]["metrics"]
    numbers = {
        "source": summary["source"]["task"],
        "target": summary["target"]["task"],
        "transfer": "auto" if "auto" in summary["transfer"] else summary["transfer"]["mode"],
        "fusion": summary["fusion"],
        "seed": summary["seed"],
        **{f"val.{name}": value for name, value in target["val"].items()},
        **{f"test.{name}": value for name, value in target["test"].items()},
    }
    if "gain" in summary:
        numbers["gain"] = summary["gain"]["value"]
    return {
        **numbers,
        "params.trainable": summary["params"]["trainable"],
        "params.fusion": summary["params"]["fusion"],
        "flops_per_sample": summary["cost"]["flops_per_sample"],
        "seconds": summary["timing"]["total_s"],
    }


def tables(rows: Sequence[dict[str, Any]]) -> list[Table]:
    """Return the table of all jobs and, over several seeds, that of their means.

    The first columns are what varies between the jobs. A job that is the same experiment
    as an earlier one shares its run and is shown once. No table where none has finished.
    """
    varied = _varied([str(row["job"]) for row in rows])
    done = _finished(rows)
    if not done:
        return []
    metrics = [name for name in METRICS if any(name in row for row in done)]
    jobs = Table(*varied, *metrics, "seconds", title="Jobs", title_justify="left")
    for row in done:
        actual = _shown(row)
        found = [actual.get(key, "") for key in varied]
        cells = [*found, *(_cell(row.get(name)) for name in (*metrics, "seconds"))]
        jobs.add_row(*map(Text, cells))  # a value such as [image,text] would be read as markup
    if "seed" not in varied:
        return [jobs]
    keys = [key for key in varied if key != "seed"]
    title = "Mean ± 95 % interval over seeds"
    means = Table(*keys, "seeds", *metrics, title=title, title_justify="left")
    for group, members in groups(rows).items():
        cells = [_interval([m[name] for m in members if name in m]) for name in metrics]
        means.add_row(*map(Text, [*dict(group).values(), str(len(members)), *cells]))
    return [jobs, means]


def groups(rows: Sequence[dict[str, Any]]) -> dict[Group, list[dict[str, Any]]]:
    """Return the finished runs that differ in nothing but their seed, by what they share."""
    keys = [key for key in _varied([str(row["job"]) for row in rows]) if key != "seed"]
    found: dict[Group, list[dict[str, Any]]] = {}
    for row in _finished(rows):
        actual = _shown(row)
        found.setdefault(tuple((key, actual.get(key, "")) for key in keys), []).append(row)
    return found


def _finished(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of finished runs, each run once."""
    done: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["status"] == "done":
            done.setdefault(row["run"], row)
    return list(done.values())


def _shown(row: dict[str, Any]) -> dict[str, str]:
    """Return a job's settings; its transfer is scratch where there is no source.

    What a search has chosen does not count: its runs are those of the search, whatever won.
    """
    settings = _settings(str(row["job"]))
    actual = {} if settings.get("transfer") == "auto" else {"transfer": str(row["transfer"])}
    return {**settings, **actual}


def _settings(job: str) -> dict[str, str]:
    """Return a job's overrides as key to value."""
    pairs = (part.partition("=") for part in shlex.split(job, posix=False))
    return {key: value for key, sign, value in pairs if sign}


def _varied(jobs: Sequence[str]) -> list[str]:
    """Return the keys whose values differ between jobs, in the order they were typed."""
    settings = [_settings(job) for job in jobs]
    keys = dict.fromkeys(key for each in settings for key in each)
    return [key for key in keys if len({each.get(key) for each in settings}) > 1]


def _interval(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.3f}"
    from scipy.special import stdtrit

    t = float(stdtrit(len(values) - 1, 0.975))  # Student's
    return f"{mean:.3f} ± {t * statistics.stdev(values) / math.sqrt(len(values)):.3f}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
