"""A run directory as trackers know it: its facts, its points and its end."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mmx.json_object import Json
from mmx.runs.directory import RunDirectory
from mmx.runs.records import BySplit
from mmx.runs.summary import Summary
from mmx.trackers import TOLD, Ending, Point, Scalar, TrackedRun

FILES = ("report.html", "summary.json")
MOST_BYTES = 20 * 2**20
"""Largest file that is handed to a tracker."""
STAMP = re.compile(r"(\d{8}-\d{6})")
"""The start of the name of a run directory: when it was made."""
RUNS, SWEEPS = "runs", "sweeps"
"""Folders of an output folder."""


def describe_run(directory: RunDirectory) -> TrackedRun:
    """Return what identifies and describes a run, the same at any time of its life."""
    manifest, name = directory.manifest(), directory.path.resolve().name
    fingerprint = manifest.fingerprint or ""
    config = {k: v for k, v in directory.config().items() if k not in TOLD}
    flat = dict(_flatten(config))
    folder = find_output_folder(directory.path)
    tags = {
        "mmx.run": str(directory.path.absolute()),
        "mmx.fingerprint": fingerprint,
        "mmx.seed": str(manifest.seed),
        **{f"mmx.{part}": option for part, option in manifest.names.items() if "/" not in part},
    }
    where = directory.path.resolve().parent.parent
    if where.parent.name == SWEEPS:
        tags["mmx.sweep"] = where.name
    key = hashlib.blake2b(f"{name}\0{fingerprint}".encode(), digest_size=8).hexdigest()
    return TrackedRun(name, key, folder, flat, tags, _find_beginning(directory.path))


def find_output_folder(run: Path) -> Path:
    """Return the output folder that a run lies in; its own folder where it lies in none."""
    parent = run.resolve().parent
    if parent.name == RUNS:
        parent = parent.parent
        if parent.parent.name == SWEEPS:
            parent = parent.parent.parent
    return parent


def _find_beginning(run: Path) -> float:
    """Return when a run was created, in seconds since 1970."""
    if found := STAMP.match(run.resolve().name):
        with contextlib.suppress(ValueError, OverflowError):
            return datetime.strptime(found[1], "%Y%m%d-%H%M%S").timestamp()
    return run.stat().st_mtime


def _flatten(node: Any, path: str = "") -> Iterator[tuple[str, Scalar]]:
    """Yield each value of a config with its dotted key; a list counts as one text."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flatten(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, (str, int, float, bool)) or node is None:
        yield path, node
    else:
        yield path, json.dumps(node, default=str)


def read_points(entries: Sequence[Json]) -> list[Point]:
    """Return the points of lines of ``metrics.jsonl``; a value that is missing is NaN."""
    return [
        Point(
            as_name(f"{each['stage']}/{each['split']}.{each['name']}".rstrip(".")),
            int(each["epoch"]),
            math.nan if each["value"] is None else float(each["value"]),
            float(each.get("seconds") or 0.0),
        )
        for each in entries
    ]


def as_name(text: str) -> str:
    """Return a name of characters that every tracker keeps as they are."""
    return re.sub(r"[^\w\-./]", "_", text, flags=re.ASCII)


def read_ending(directory: RunDirectory, status: str) -> Ending:
    """Return how a run has ended.

    Args:
        directory: The run.
        status: done, failed or interrupted.
    """
    if status != "done":
        return Ending(status)
    summary = directory.read_summary()
    paths = [directory.path / name for name in FILES]
    files = [path for path in paths if path.is_file() and path.stat().st_size <= MOST_BYTES]
    values = {as_name(f"summary/{name}"): value for name, value in list_summary_numbers(summary)}
    return Ending(status, values, say_answer(summary), files)


def list_summary_numbers(summary: Summary) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a summary that are worth a column: metrics, gains, cost."""
    stages: dict[str, BySplit] = {
        "source": summary.source.metrics,
        "target": summary.target.metrics,
        **{f"control.{name}": each.metrics for name, each in summary.control.items()},
    }
    for stage, splits in stages.items():
        for split, metrics in splits.items():
            yield from ((f"{stage}.{split}.{name}", value) for name, value in metrics.items())
    gains = summary.gains or ({summary.gain.control: summary.gain} if summary.gain else {})
    for control, gain in gains.items():
        yield f"gain.{control}", gain.value
        if gain.interval is not None:
            yield from zip(
                (f"gain.{control}.low", f"gain.{control}.high"), gain.interval, strict=True
            )
    yield "params.total", float(summary.params.total)
    yield "params.trainable", float(summary.params.trainable)
    yield "seconds", summary.timing.total_s


def say_answer(summary: Summary) -> str:
    """Return a summary as one sentence: what was reached, and the gain."""
    tested = summary.target.metrics.get("test", {})
    reached = ", ".join(f"{name} {value:.4g}" for name, value in list(tested.items())[:1])
    text = f"{summary.source.task or 'none'} → {summary.target.task}: test {reached}"
    if summary.gain is not None:
        gain = summary.gain
        text += f", gain over {gain.control} {gain.value:+.4g}"
        if gain.interval is not None:
            low, high = gain.interval
            text += f" ({low:+.4g} … {high:+.4g})"
    return text
