"""What a sweep already has for a job: a finished run, one to resume, or one out of date."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmx.errors import MmxError, RunError
from mmx.metrics import USUAL_NAMES
from mmx.runs.directory import NAME_DIGITS, RunDirectory
from mmx.runs.file_states import FileState, are_settled, read_states
from mmx.runs.identity import Identity, find_differences, join_differences
from mmx.runs.manifest import Manifest
from mmx.runs.summary import Summary, find_missing
from mmx.runs.sweep_row import Cell

UNFINISHED = ("pending", "interrupted", "killed")
"""States in which a run can be resumed."""
SHOWN_KEYS = (
    "source.task",
    "target.task",
    "target.metrics.val",
    "target.metrics.test",
    "transfer.mode",
    "fusion",
    "seed",
    "params.trainable",
    "params.fusion",
    "cost.flops_per_sample",
    "timing.total_s",
)
"""The entries of a summary that :func:`read_numbers` reads."""


@dataclass(frozen=True)
class Wanted:
    """A job of a sweep, as it would run now.

    Attributes:
        key: Digest of its config as typed, including places of data and weights.
        fingerprint: The fingerprint of its experiment; its first digits are in the names of runs.
        identity: What its numbers depend on, without the data.
        places: Where it looks for data and weights, by config path.
        data: Returns the present fingerprint of each role's data, if it can be read. This may
            take long, and is called only if the answer matters.
    """

    key: str
    fingerprint: str
    identity: Identity
    places: Mapping[str, str]
    data: Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class Standing:
    """The runs that exist for a job; at most one of the first three is set.

    Attributes:
        done: The finished run that is valid now.
        unfinished: The run that can be resumed.
        outdated: The newest run that is no longer valid, or cannot be checked.
        why: The reason for this, as a sentence without a full stop.
        newest: The newest readable run of the job, whatever its status.
    """

    done: RunDirectory | None = None
    unfinished: RunDirectory | None = None
    outdated: RunDirectory | None = None
    why: str = ""
    newest: RunDirectory | None = None


@dataclass(frozen=True)
class _Run:
    """A run of the sweep; ``here`` says whether it read data and weights from today's places."""

    directory: RunDirectory
    status: str
    identity: Identity
    here: bool


@dataclass(frozen=True)
class _Records:
    """What was read of a run; ``states`` are those of the files, None where one was not there."""

    manifest: Manifest
    status: object
    states: dict[Path, FileState] | None


RECORDS = ("manifest.json", "status.json", "digests.json")
"""The files that say what a finished run is, and by their digests that they are as written."""
_RECORDS: dict[Path, _Records] = {}
"""The records of each run that this process has read."""


def find_standing(folder: Path, wanted: Wanted) -> Standing:
    """Return the standing of a job in a folder of runs.

    Args:
        folder: The folder of the sweep's runs.
        wanted: The job.
    """
    found, unreadable = _find_runs(folder, wanted)
    here = [run for run in found if run.here]
    newest = here[0].directory if here else None
    same = [run for run in found if _is_same_experiment(run, wanted)]
    if run := next((run for run in same if _is_answer(run, wanted)), None):
        return Standing(done=run.directory, newest=newest)
    if run := next((run for run in same if _can_go_on(run, wanted)), None):
        return Standing(unfinished=run.directory, newest=newest)
    outdated, why = _find_outdated(here, unreadable, wanted)
    return Standing(outdated=outdated, why=why, newest=newest)


def _find_outdated(
    here: Sequence[_Run], unreadable: Mapping[Path, str], wanted: Wanted
) -> tuple[RunDirectory | None, str]:
    """Return the newest run that is not valid, or cannot be checked, and why; or None."""
    if run := next((run for run in here if run.status in ("done", *UNFINISHED)), None):
        return run.directory, _explain_outdated(run, wanted)
    for directory, why in unreadable.items():
        return RunDirectory(directory), why
    return None, ""


def _is_same_experiment(run: _Run, wanted: Wanted) -> bool:
    """Return whether a run records what it depends on, and nothing but its data can differ."""
    identity = run.identity
    return identity.complete and not find_differences(identity, wanted.identity, hardware=False)


def _is_answer(run: _Run, wanted: Wanted) -> bool:
    """Return whether a run of the same experiment is finished, undamaged and of the same data."""
    if run.status != "done" or _find_damage(run.directory):
        return False
    return _has_same_data(run, wanted)


def _can_go_on(run: _Run, wanted: Wanted) -> bool:
    """Return whether a run of the same experiment was stopped and can be resumed."""
    if run.status not in UNFINISHED or not run.here or _find_damaged_file(run.directory):
        return False
    return _has_same_data(run, wanted, part=True)


def _find_damage(directory: RunDirectory) -> str:
    """Return why a finished run's numbers cannot be shown; empty if they can."""
    if damage := _find_damaged_file(directory):
        return damage
    try:
        missing = find_missing(directory.summary(), SHOWN_KEYS)
    except MmxError as error:
        return " ".join(error.message.split())
    return f"{directory.path}/summary.json does not hold its numbers" if missing else ""


def _find_damaged_file(directory: RunDirectory) -> str:
    """Return which file is damaged, and how; empty if none is."""
    try:
        directory.require_undamaged()
    except MmxError as error:
        return " ".join(error.message.split())
    return ""


def read_numbers(summary: Summary) -> dict[str, Cell]:
    """Return what a sweep shows of a finished run."""
    target, transfer = summary.target.metrics, summary.transfer
    found: dict[str, Cell] = {
        "source": summary.source.task,
        "target": summary.target.task,
        "transfer": transfer.mode if transfer.auto is None else "auto",
        "fusion": summary.fusion,
        "seed": summary.seed,
        **{f"val.{name}": value for name, value in target["val"].items()},
        **{f"test.{name}": value for name, value in target["test"].items()},
    }
    chosen = summary.target.metric
    name = None if chosen is None else chosen.name
    if summary.gain is not None:
        found["gain"] = summary.gain.value
        name = summary.gain.metric
    if name is not None and name not in USUAL_NAMES:
        found["metric"] = name
    if chosen is not None and chosen.lower_is_better:
        found["lower_is_better"] = True
    return {
        **found,
        "params.trainable": summary.params.trainable,
        "params.fusion": summary.params.fusion,
        "flops_per_sample": summary.cost.flops_per_sample,
        "seconds": summary.timing.total_s,
    }


def _find_runs(folder: Path, wanted: Wanted) -> tuple[list[_Run], dict[Path, str]]:
    """Return the runs of a job, newest first, and unreadable ones with the reason.

    Runs made by older versions are included. An unreadable run belongs to the job if its name
    contains the first digits of the job's fingerprint.
    """
    found: list[_Run] = []
    unreadable: dict[Path, str] = {}
    for path in sorted(folder.glob("[!.]*"), reverse=True):  # names begin with the time
        directory = RunDirectory(path)
        try:
            manifest, status = _read_records(directory)
            if manifest == Manifest() or status is None:
                absent = "manifest" if manifest == Manifest() else "status"
                raise RunError(f"{path} has no {absent}.json")
        except MmxError as error:
            if f"_{wanted.fingerprint[:NAME_DIGITS]}-" in path.name:
                unreadable[path] = " ".join(error.message.split())
            continue
        identity = Identity.of(manifest)
        own = manifest.fingerprint == wanted.key
        # Manifests of early versions have no digest of the config, but the job's key.
        if identity.config == wanted.identity.config if identity.config else own:
            places = manifest.places
            here = own if places is None else places == dict(wanted.places)
            found.append(_Run(directory, str(status), identity, here))
    return found, unreadable


def _read_records(directory: RunDirectory) -> tuple[Manifest, object]:
    """Return manifest and status of a run; of a finished one, read once while they stay the same.

    A sweep looks at all its runs before each job.
    """
    files = [directory.path / name for name in RECORDS]
    known = _RECORDS.get(directory.path)
    if known is not None and read_states(files) == known.states:
        return known.manifest, known.status
    began = time.time_ns()
    found = _Records(directory.manifest(), directory.status().get("status"), read_states(files))
    # The status of any other may change without its file: where its process is killed.
    done = found.status == "done"
    if done and found.states is not None and are_settled(found.states, began):
        _RECORDS[directory.path] = found
    return found.manifest, found.status


def _has_same_data(run: _Run, wanted: Wanted, *, part: bool = False) -> bool:
    """Return whether a run has seen the present data.

    ``part``: an unfinished run may not have opened every role's data yet.
    """
    if part and not run.identity.data:
        return True
    seen, now = run.identity.data, wanted.data()
    if part:
        return all(now.get(role) == fingerprint for role, fingerprint in seen.items())
    # A finished run that names no data, for a job whose data cannot be read: {} == {}.
    return bool(seen) and dict(seen) == dict(now)


def _explain_outdated(run: _Run, wanted: Wanted) -> str:
    """Return why a run is no longer an answer, or cannot be resumed."""
    path = run.directory.path
    if not run.identity.complete:
        return f"{path} was made by an older mmx, which did not record what it depends on"
    now = wanted.identity.with_data(wanted.data() if run.identity.data else {})
    if changed := find_differences(run.identity, now, hardware=False):
        return f"{join_differences(changed)} changed since {path}"
    find = _find_damage if run.status == "done" else _find_damaged_file
    if damage := find(run.directory):
        return damage
    lost = [role for role in run.identity.data if role not in now.data]
    which = f"the data of {' and '.join(lost)}" if lost else "the data"
    return f"{which} cannot be compared with what {path} has seen"
