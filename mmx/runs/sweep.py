"""A sweep on disk: its plan, its runs, and one table at the end.

    outputs/sweeps/<id>/  plan.json  runs/  summary.csv

The id follows from the jobs, so the same command finds what it has done before.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from rich.table import Table

from mmx.runs.atomic import read_json, write_json, write_text
from mmx.runs.directory import RunDirectory
from mmx.runs.manifest import code_digest

T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t at 97.5 % for 1 to 9 degrees of freedom."""


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
        for job in read_json(self.path / "plan.json").get("jobs", []):
            fingerprint = job["fingerprint"]
            directory = self._newest(fingerprint, done=True) or self._newest(fingerprint)
            row: dict[str, Any] = {"job": job["overrides"], "run": "", "status": "not started"}
            row["error"] = ""
            if directory is not None:
                status, summary = directory.status(), directory.summary()
                row.update(run=str(directory.path), status=status.get("status", "?"))
                row["error"] = status.get("error", "")
                row.update(_numbers(summary) if summary else {})
            rows.append(row)
        return rows

    def write_summary(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write ``summary.csv``, one line for each job."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path / "summary.csv", text.getvalue())


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
    sweep.runs.mkdir(parents=True, exist_ok=True)
    entries = [{"overrides": text, "fingerprint": fingerprint} for text, fingerprint in jobs]
    write_json(sweep.path / "plan.json", {"jobs": entries})
    return sweep


def _numbers(summary: dict[str, Any]) -> dict[str, Any]:
    target = summary["target"]["metrics"]
    numbers = {
        "source": summary["source"]["task"],
        "target": summary["target"]["task"],
        "transfer": summary["transfer"]["mode"],
        "fusion": summary["fusion"],
        "seed": summary["seed"],
        **{f"val.{name}": value for name, value in target["val"].items()},
        **{f"test.{name}": value for name, value in target["test"].items()},
    }
    if "gain" in summary:
        numbers["gain"] = summary["gain"]["value"]
    return {**numbers, "seconds": summary["timing"]["total_s"]}


def tables(rows: Sequence[dict[str, Any]]) -> list[Table]:
    """Return the table of all jobs and, over several seeds, that of their means."""
    done = [row for row in rows if row["status"] == "done"]
    metrics = [
        name
        for name in ("test.accuracy", "test.f1_macro", "test.r2", "test.mse", "gain")
        if any(name in row for row in done)
    ]
    names = ["source", "target", "transfer", "fusion", "seed", *metrics, "seconds"]
    table = Table(*names, title="Jobs", title_justify="left")
    seen: set[str] = set()
    for row in done:
        if row["run"] not in seen:
            seen.add(row["run"])
            table.add_row(*(_cell(row.get(name)) for name in names))
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in seen:
        row = next(row for row in done if row["run"] == run)
        groups.setdefault(_without_seed(row), []).append(row)
    if all(len(members) == 1 for members in groups.values()):
        return [table]
    means = Table(*names[:4], "seeds", *metrics, title="Mean ± 95 % interval over seeds")
    for row in done:
        members = groups.pop(_without_seed(row), None)
        if members:
            cells = [_interval([m[name] for m in members if name in m]) for name in metrics]
            means.add_row(*(str(row[name]) for name in names[:4]), str(len(members)), *cells)
    return [table, means]


def _without_seed(row: dict[str, Any]) -> tuple[Any, ...]:
    job = " ".join(part for part in str(row["job"]).split() if not part.startswith("seed="))
    kept = tuple(row[name] for name in ("source", "target", "transfer", "fusion"))
    return (*kept, job if row["source"] != "none" else "")


def _interval(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.3f}"
    degrees = len(values) - 1
    t = T95[degrees - 1] if degrees <= len(T95) else 1.96
    return f"{mean:.3f} ± {t * statistics.stdev(values) / math.sqrt(len(values)):.3f}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
