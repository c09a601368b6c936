"""What a sweep has of a job already: a finished run, one to go on with, or one out of date."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmx.errors import MmxError, RunError
from mmx.json_object import Json
from mmx.runs.directory import NAME_DIGITS, RunDirectory
from mmx.runs.identity import Identity, differences, in_words
from mmx.runs.summary import Summary, find_missing

UNFINISHED = ("pending", "interrupted", "killed")
"""States in which a run can be gone on with."""
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
"""What of a summary :func:`numbers` reads."""


@dataclass(frozen=True)
class Wanted:
    """A job of a sweep, as it would run now.

    Attributes:
        key: Digest of its config as it was typed, places included.
        fingerprint: Of its experiment, whose first digits are in the names of its runs.
        identity: What its numbers depend on; its data is not in it.
        places: Where it looks for data and weights, by config path.
        data: Returns the fingerprint of each role's data as it is now, of what can be read.
            It may take long, and is asked only where the answer counts.
    """

    key: str
    fingerprint: str
    identity: Identity
    places: Mapping[str, str]
    data: Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class Standing:
    """What there is of a job; at most one of the first three is set.

    Attributes:
        done: The run that is its answer as things are now.
        unfinished: The run that can be gone on with.
        outdated: The newest run that was its answer once, or on the way to it, or may have been.
        why: Why that is no answer now, as a sentence without its end.
        newest: The newest run of the job that can be read, whatever became of it.
    """

    done: RunDirectory | None = None
    unfinished: RunDirectory | None = None
    outdated: RunDirectory | None = None
    why: str = ""
    newest: RunDirectory | None = None


@dataclass(frozen=True)
class _Run:
    """A run of the sweep: its directory, status, what it depended on and where that lay."""

    directory: RunDirectory
    status: str
    identity: Identity
    here: bool


def find_standing(folder: Path, wanted: Wanted) -> Standing:
    """Return what there is of a job in a folder of runs.

    Args:
        folder: Of the sweep's runs.
        wanted: The job.
    """
    found, unreadable = _runs_of(folder, wanted)
    newest = next((run.directory for run in found if run.here), None)
    same = [
        run
        for run in found
        if run.identity.complete and not differences(run.identity, wanted.identity, hardware=False)
    ]
    for run in same:
        if run.status == "done" and not _damage(run.directory) and _same_data(run, wanted):
            return Standing(done=run.directory, newest=newest)
    for run in same:
        begun = run.status in UNFINISHED and run.here
        if begun and not _damaged_file(run.directory) and _same_data(run, wanted, part=True):
            return Standing(unfinished=run.directory, newest=newest)
    once = next((run for run in found if run.status in ("done", *UNFINISHED) and run.here), None)
    if once is not None:
        return Standing(outdated=once.directory, why=_why(once, wanted), newest=newest)
    for directory, why in unreadable.items():
        return Standing(outdated=RunDirectory(directory), why=why, newest=newest)
    return Standing(newest=newest)


def _damage(directory: RunDirectory) -> str:
    """Return why a finished run's numbers cannot be shown; nothing where they can."""
    if damage := _damaged_file(directory):
        return damage
    try:
        missing = find_missing(directory.summary(), SHOWN_KEYS)
    except MmxError as error:
        return " ".join(error.message.split())
    return f"{directory.path}/summary.json does not hold its numbers" if missing else ""


def _damaged_file(directory: RunDirectory) -> str:
    """Return which file is not as it was written, and why that is seen; nothing where all are."""
    try:
        directory.require_undamaged()
    except MmxError as error:
        return " ".join(error.message.split())
    return ""


def numbers(summary: Summary) -> Json:
    """Return what a sweep shows of a finished run."""
    target, transfer = summary.target.metrics, summary.transfer
    found = {
        "source": summary.source.task,
        "target": summary.target.task,
        "transfer": transfer.mode if transfer.auto is None else "auto",
        "fusion": summary.fusion,
        "seed": summary.seed,
        **{f"val.{name}": value for name, value in target["val"].items()},
        **{f"test.{name}": value for name, value in target["test"].items()},
    }
    if summary.gain is not None:
        found["gain"] = summary.gain.value
    return {
        **found,
        "params.trainable": summary.params.trainable,
        "params.fusion": summary.params.fusion,
        "flops_per_sample": summary.cost.flops_per_sample,
        "seconds": summary.timing.total_s,
    }


def _runs_of(folder: Path, wanted: Wanted) -> tuple[list[_Run], dict[Path, str]]:
    """Return the runs of a job, newest first, and why others cannot be read that may be its.

    Those that older versions have made are among them. Whose run one is that cannot be read,
    its name says: it holds the first digits of the job's fingerprint.
    """
    found: list[_Run] = []
    unreadable: dict[Path, str] = {}
    for path in sorted(folder.glob("[!.]*"), reverse=True):
        directory = RunDirectory(path)
        try:
            manifest, status = directory.manifest(), directory.status().get("status")
            if not manifest or status is None:
                raise RunError(f"{path} has no {'status' if manifest else 'manifest'}.json")
        except MmxError as error:
            if f"_{wanted.fingerprint[:NAME_DIGITS]}-" in path.name:
                unreadable[path] = " ".join(error.message.split())
            continue
        identity = Identity.of(manifest)
        own = manifest.get("fingerprint") == wanted.key
        if identity.config == wanted.identity.config if identity.config else own:
            places = manifest.get("places")
            here = own if places is None else places == dict(wanted.places)
            found.append(_Run(directory, str(status), identity, here))
    return found, unreadable


def _same_data(run: _Run, wanted: Wanted, *, part: bool = False) -> bool:
    """Return whether a run has seen the data as it is now; ``part``: as far as it had come."""
    if part and not run.identity.data:
        return True
    seen, now = run.identity.data, wanted.data()
    if part:
        return all(now.get(role) == fingerprint for role, fingerprint in seen.items())
    return bool(seen) and dict(seen) == dict(now)


def _why(run: _Run, wanted: Wanted) -> str:
    """Return why a run is no answer any more, or cannot be gone on with."""
    path = run.directory.path
    if not run.identity.complete:
        return f"{path} was made by an older mmx, which did not record what it depends on"
    now = wanted.identity.with_data(wanted.data() if run.identity.data else {})
    if changed := differences(run.identity, now, hardware=False):
        return f"{in_words(changed)} changed since {path}"
    if damage := _damage(run.directory) if run.status == "done" else _damaged_file(run.directory):
        return damage
    lost = [role for role in run.identity.data if role not in now.data]
    which = f"the data of {' and '.join(lost)}" if lost else "the data"
    return f"{which} cannot be compared with what {path} has seen"
