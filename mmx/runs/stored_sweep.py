"""A sweep as its files show it: nothing is built, and no data is opened.

What is done is told by the status of runs alone. Whether a finished run is still the answer (the
present config, data, code and weights) is decided where the sweep goes on; see
:mod:`mmx.runs.standing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmx import untrusted
from mmx.errors import MmxError, RunError, UnreadableFileError, closest
from mmx.runs import index
from mmx.runs.directory import RunDirectory
from mmx.runs.index_entry import UNREADABLE, IndexEntry, list_run_names
from mmx.runs.records import Record, read_record

PLAN, SEARCH = "plan.json", "search.json"
"""The files that a sweep and a search begin with."""
NOT_STARTED = "not started"
STOPPED = ("interrupted", "killed", "pending")
"""Statuses of runs that go on where they stopped."""
PLAN_BYTES = 256 * 2**20
"""Most bytes of a plan: of 100,000 jobs, with room."""


class PlannedJob(Record):
    """A job in ``plan.json``.

    Attributes:
        overrides: As typed.
        fingerprint: Of its config.
        experiment: The fingerprint of its run, in which weights count too; an older plan has none.
        differs: The keys that tell its group from others, with their values.
    """

    overrides: list[str]
    fingerprint: str
    experiment: str | None = None
    differs: dict[str, str] = {}


class Plan(Record):
    """``plan.json``.

    Attributes:
        jobs: All of them.
        argv: The command line that began the sweep; an older plan has none.
        cwd: Where it was typed.
    """

    jobs: list[PlannedJob] = []
    argv: list[str] = []
    cwd: str | None = None


@dataclass(frozen=True)
class StoredJob:
    """One job of a sweep.

    Attributes:
        overrides: As typed.
        key: Of its plan; see :class:`~mmx.runs.standing.Wanted`.
        status: That of its run, or ``not started``.
        entry: Its run, as ``mmx list`` has it; None before it began.
    """

    overrides: Sequence[str]
    key: str
    status: str = NOT_STARTED
    entry: IndexEntry | None = None


@dataclass(frozen=True)
class StoredSweep:
    """A sweep or a search on disk.

    Attributes:
        path: Its directory.
        argv: The command line that began it; empty where nothing records it.
        cwd: Where it was typed.
        jobs: Its jobs in the order of the plan; of a search, its trials and the winner's run.
        is_search: Whether ``mmx search`` made it.
    """

    path: Path
    argv: Sequence[str] = ()
    cwd: str | None = None
    jobs: Sequence[StoredJob] = field(default=())
    is_search: bool = False

    def count(self) -> dict[str, int]:
        """Return how many jobs are done, failed, running, and left to do."""
        found = [job.status for job in self.jobs]
        done, failed, running = (found.count(word) for word in ("done", "failed", "running"))
        left = len(found) - done - failed - running
        return {"done": done, "failed": failed, "running": running, "left": left}


def list_sweeps(root: Path) -> list[Path]:
    """Return the directories of all sweeps and searches of an output folder, in order of start."""
    found = [each.parent for name in (PLAN, SEARCH) for each in root.glob(f"sweeps/*/{name}")]
    return sorted(found, key=lambda each: (find_last_start(each), each))


def find_sweep_directory(root: Path, name: str, verb: str = "status") -> Path:
    """Return the directory of a sweep that is named by its id or path.

    Args:
        root: The output folder.
        name: What was typed.
        verb: The word of mmx sweep that it was typed after.

    Raises:
        RunError: There is no such sweep.
    """
    for path in (Path(name), root / "sweeps" / name):
        if (path / PLAN).is_file() or (path / SEARCH).is_file():
            return path
    ids = [path.name for path in list_sweeps(root)]
    near = closest(Path(name).name, ids) or (ids[-1] if ids else None)
    have = f"{root} has {', '.join(ids[-5:])}" if ids else f"{root} has none"
    tip = f"mmx sweep {verb} {near}" if near else "mmx train -m seed=1,2 makes one"
    raise RunError(f"there is no sweep {name}; {have}", tip=tip)


def read_sweep(path: Path) -> StoredSweep:
    """Return a sweep or a search.

    Raises:
        RunError: Its plan cannot be read, or is not what mmx wrote.
    """
    if not (path / PLAN).is_file():
        return _read_search(path)
    plan = read_plan(path)
    runs = [index.read_entry(path, name) for name in list_run_names(path)]
    by_fingerprint: dict[str, list[IndexEntry]] = {}
    for entry in runs:
        by_fingerprint.setdefault(str(entry["fingerprint"]), []).append(entry)
    jobs = []
    for job in plan.jobs:
        own = by_fingerprint.get(job.experiment or job.fingerprint, [])
        jobs.append(_find_job(job.overrides, job.fingerprint, own))
    argv = plan.argv or _find_argv(path, runs)
    return StoredSweep(path, argv, plan.cwd, jobs)


def read_plan(path: Path) -> Plan:
    """Return ``plan.json`` of a sweep's directory.

    Raises:
        RunError: It cannot be read, or is not what mmx wrote.
    """
    try:
        data = untrusted.read_json(path / PLAN, dict, limit=PLAN_BYTES)
    except UnreadableFileError as error:
        raise RunError(error.message, tip=error.tip) from error
    return read_record(data, Plan, path / PLAN)


def _find_job(overrides: Sequence[str], key: str, own: Sequence[IndexEntry]) -> StoredJob:
    """Return a job with the run that counts: one that is done, else the newest."""
    newest = list(reversed(own))  # names begin with the time
    for word in ("done", "running"):
        if found := next((entry for entry in newest if entry["status"] == word), None):
            return StoredJob(overrides, key, word, found)
    if newest:
        return StoredJob(overrides, key, newest[0]["status"], newest[0])
    return StoredJob(overrides, key)


def _read_search(path: Path) -> StoredSweep:
    """Return a search, of which each trial is a run."""
    names = [
        *sorted(f"trials/{each.parent.name}" for each in path.glob("trials/*/config.yaml")),
        *list_run_names(path),
    ]
    runs = [index.read_entry(path, name) for name in names]
    jobs = [StoredJob((entry["run"],), entry["run"], entry["status"], entry) for entry in runs]
    return StoredSweep(path, _find_argv(path, runs), _find_cwd(path, runs), jobs, is_search=True)


def _find_argv(path: Path, runs: Sequence[IndexEntry]) -> list[str]:
    """Return the command line that the first readable run was made by."""
    for entry in runs:
        if entry["status"] != UNREADABLE:
            try:
                return RunDirectory(path / entry["run"]).manifest().argv
            except MmxError:
                continue
    return []


def _find_cwd(path: Path, runs: Sequence[IndexEntry]) -> str | None:
    for entry in runs:
        if entry["status"] != UNREADABLE:
            return RunDirectory(path / entry["run"]).manifest().cwd
    return None


def find_last_start(path: Path) -> float:
    """Return when a sweep was last started, in seconds since 1970: its plan is written anew."""
    for name in (PLAN, SEARCH):
        try:
            return (path / name).stat().st_mtime
        except OSError:
            continue
    return 0.0
