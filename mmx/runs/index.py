"""All runs under an output folder, read from their directories; ``index.jsonl`` lists them.

The index is for scripts: one line for each finished run. mmx writes it but never reads numbers
from it, since a wrong line would be shown as its run's answer.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

from mmx import untrusted
from mmx.errors import MmxError, RunError, UnreadableFileError
from mmx.json_object import Json
from mmx.printable import shorten
from mmx.runs.atomic import append_text, write_text
from mmx.runs.directory import RunDirectory
from mmx.runs.index_cache import CellValue, IndexCache, stamp
from mmx.runs.index_entry import UNREADABLE, IndexEntry, list_run_names
from mmx.runs.task_names import find_task_name
from mmx.variants import variant_name

INDEX = "index.jsonl"


class _What(TypedDict):
    """The parts of a run."""

    source: str | None
    target: str | None
    transfer: str | None
    regularizer: str | None
    fusion: str | None


def entry(directory: RunDirectory, root: Path) -> IndexEntry:
    """Return the index entry of a run; the parts of an unfinished run come from its config.

    Raises:
        RunError: A file of the run is not what mmx wrote.
    """
    summary, manifest, status = directory.summary(), directory.manifest(), directory.status()
    target, gain = summary.get("target", {}), summary.get("gain", {})
    return {
        "run": directory.path.relative_to(root).as_posix(),
        "status": status.get("status", "?"),
        "fingerprint": manifest.fingerprint,
        "code": manifest.code.digest,
        "seed": manifest.seed,
        **(_describe_finished(summary) if summary else _describe_planned(directory)),
        "test": _put_first(target.get("metrics", {}).get("test", {}), gain.get("metric")),
        "gain": gain.get("value"),
        "seconds": summary.get("timing", {}).get("total_s"),
        "error": " ".join(str(status["error"]).split()) if "error" in status else None,
    }


def _put_first(metrics: Json, name: Any) -> Json:
    """Return metrics with the one that the gain is in first, as lists of runs show the first."""
    known = isinstance(name, str) and name in metrics
    return {name: metrics[name], **metrics} if known else metrics


def _make_unreadable_entry(directory: RunDirectory, root: Path, why: str) -> IndexEntry:
    """Return the entry, without numbers, of a run directory that is not what mmx wrote."""
    return {
        "run": directory.path.relative_to(root).as_posix(),
        "status": UNREADABLE,
        "fingerprint": None,
        "code": None,
        "seed": None,
        "source": None,
        "target": None,
        "transfer": None,
        "regularizer": None,
        "fusion": None,
        "test": {},
        "gain": None,
        "seconds": None,
        "error": " ".join(why.split()),
    }


def _describe_finished(summary: Json) -> _What:
    """Return the parts of a finished run."""
    transfer = summary.get("transfer", {})
    return {
        "source": summary.get("source", {}).get("task"),
        "target": summary.get("target", {}).get("task"),
        "transfer": transfer.get("mode"),
        "regularizer": transfer.get("regularizer", {}).get("name"),
        "fusion": summary.get("fusion"),
    }


def _describe_planned(directory: RunDirectory) -> _What:
    """Return the parts of a run from its config."""
    config = directory.config()
    parts = ("source", "target", "transfer", "regularizer", "fusion")
    chosen = directory.names()
    found = {part: _name(config.get(part), chosen.get(part)) for part in parts}
    return {
        "source": found["source"] or ("none" if config else None),
        "target": found["target"],
        "transfer": found["transfer"],
        "regularizer": found["regularizer"],
        "fusion": found["fusion"],
    }


def _name(node: Any, chosen: Any) -> str | None:
    """Return the name of the part that a config node stands for; None if there is none.

    A task has its own name; other parts have the option that chose them, or their variant.
    """
    if not isinstance(node, dict) or "_target_" not in node:
        return None
    return str(find_task_name(node) or chosen or variant_name(str(node["_target_"])))


def root_of(directory: RunDirectory) -> Path | None:
    """Return the output folder that contains a run, or None for a run elsewhere."""
    parents = directory.path.absolute().parents
    # <root>/sweeps/<id>/runs/<run> and <root>/runs/<run>; the longer one is tried first.
    for depth, place in ((3, "sweeps"), (1, "runs")):
        if len(parents) > depth and parents[depth - 1].name == place:
            return parents[depth]
    return None


def add(directory: RunDirectory) -> None:
    """Append a finished run to the index, and keep what ``mmx list`` shows of it."""
    root = root_of(directory)
    if root is None:
        return
    whole = RunDirectory(directory.path.absolute())
    with contextlib.suppress(RunError, OSError):  # such as a link; the next list repairs it
        # Before the files are read: one that changes in between then has another stamp.
        mark = stamp(str(whole.path))
        found = entry(whole, root)
        append_text(root / INDEX, json.dumps(found) + "\n")
        with IndexCache(root) as cache:
            run = found["run"]
            cache.keep_all({"entry": {run: (mark, found)}, "facts": {run: (mark, facts(whole))}})


def runs(root: Path) -> list[RunDirectory]:
    """Return the run directories under ``root``, sorted by name, and so by time."""
    return [RunDirectory(root / run) for run in list_run_names(root)]


def read_entry(root: Path, run: str) -> IndexEntry:
    """Return the entry of a run, with the status ``?`` and the reason where it is unreadable."""
    directory = RunDirectory(root / run)
    try:
        return entry(directory, root)
    except MmxError as error:
        return _make_unreadable_entry(directory, root, error.message)


def facts(directory: RunDirectory) -> dict[str, CellValue]:
    """Return all settings and numbers of a run by dotted key: summary, then config, then options.

    A list is the text that one types for it: ``[1, 2]``.

    Raises:
        RunError: A file of the run is not what mmx wrote.
    """
    options = {key.replace("/", "."): each for key, each in directory.names().items()}
    return {
        **dict(flatten_to_cells(directory.summary())),
        **dict(flatten_to_cells(directory.config())),
        **options,
    }


def flatten_to_cells(node: Json, prefix: str = "") -> Iterator[tuple[str, CellValue]]:
    """Return dotted keys and plain values of nested mappings."""
    for key, value in node.items():
        where = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from flatten_to_cells(value, f"{where}.")
        elif isinstance(value, list):
            yield where, shorten(json.dumps(value, ensure_ascii=False))
        elif isinstance(value, float) and not math.isfinite(value):
            yield where, str(value)
        else:
            yield where, value


def repair(root: Path, entries: Sequence[IndexEntry]) -> None:
    """Rewrite the index if it differs from the directories."""
    path = root / INDEX
    done = "".join(f"{json.dumps(each)}\n" for each in entries if each["status"] == "done")
    try:
        same = untrusted.read_text(path) == done
    except UnreadableFileError as error:
        same = error.missing and not done
    if not same and root.is_dir():
        with contextlib.suppress(RunError, OSError):  # a read-only folder is still listed
            write_text(path, done)


def has_failed_before_training(directory: RunDirectory) -> bool:
    """Return whether a run failed before any result, for instance because of a mistyped folder.

    Its error was expected, and there is no checkpoint and no epoch. A run that failed for an
    unexpected reason does not count, since its traceback may be needed.
    """
    try:
        status = directory.status()
    except MmxError:
        return False
    if status.get("status") != "failed" or not status.get("expected"):
        return False
    metrics = directory.path / "metrics.jsonl"
    empty = not metrics.exists() or metrics.stat().st_size == 0
    return empty and not (directory.path / "checkpoints").exists()


def forget(root: Path, path: Path) -> None:
    """Remove the line of a deleted run from the index."""
    try:
        lines = untrusted.read_text(root / INDEX).splitlines(keepends=True)
    except UnreadableFileError:
        return
    # Lines begin with the run's path, so that none has to be parsed.
    begins = json.dumps({"run": path.relative_to(root).as_posix()})[:-1] + ","
    kept = "".join(line for line in lines if not line.startswith(begins))
    if len(kept) < sum(map(len, lines)):
        with contextlib.suppress(RunError, OSError):
            write_text(root / INDEX, kept)
