"""All runs under an output folder: a list that is cheap to read, and its truth."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from mmx.errors import RunError
from mmx.runs.atomic import write_text
from mmx.runs.directory import RunDirectory

INDEX = "index.jsonl"
PLACES = ("runs", "sweeps/*/runs")


def entry(directory: RunDirectory, root: Path) -> dict[str, Any]:
    """Return the one line that stands for a run; of one that is not done, what its config says."""
    summary, manifest, status = directory.summary(), directory.manifest(), directory.status()
    target = summary.get("target", {})
    return {
        "run": directory.path.relative_to(root).as_posix(),
        "status": status.get("status", "?"),
        "fingerprint": manifest.get("fingerprint"),
        "code": manifest.get("code", {}).get("digest"),
        "seed": manifest.get("seed"),
        **(_of_summary(summary) if summary else _of_config(directory)),
        "test": target.get("metrics", {}).get("test", {}),
        "gain": summary.get("gain", {}).get("value"),
        "seconds": summary.get("timing", {}).get("total_s"),
        "error": " ".join(str(status["error"]).split()) if "error" in status else None,
    }


def _of_summary(summary: dict[str, Any]) -> dict[str, Any]:
    """Return what a finished run was."""
    transfer = summary.get("transfer", {})
    return {
        "source": summary.get("source", {}).get("task"),
        "target": summary.get("target", {}).get("task"),
        "transfer": transfer.get("mode"),
        "regularizer": transfer.get("regularizer", {}).get("name"),
        "fusion": summary.get("fusion"),
    }


def _of_config(directory: RunDirectory) -> dict[str, Any]:
    """Return what a run was to be; nothing where its config cannot be read."""
    try:
        config = directory.config()
    except RunError:
        config = {}
    parts = ("source", "target", "transfer", "regularizer", "fusion")
    found = {part: _name(config.get(part)) for part in parts}
    return {**found, "source": found["source"] or ("none" if config else None)}


def _name(node: Any) -> str | None:
    """Return the name of what a config's node makes; None where it makes nothing."""
    if not isinstance(node, dict) or "_target_" not in node:
        return None
    return str(node.get("name") or str(node["_target_"]).split(".")[-2])


def root_of(directory: RunDirectory) -> Path | None:
    """Return the output folder that a run lies in, or None for a run elsewhere."""
    parents = directory.path.absolute().parents
    for depth, place in ((3, "sweeps"), (1, "runs")):
        if len(parents) > depth and parents[depth - 1].name == place:
            return parents[depth]
    return None


def add(directory: RunDirectory) -> None:
    """Append a finished run to the index."""
    root = root_of(directory)
    if root is not None:
        line = json.dumps(entry(RunDirectory(directory.path.absolute()), root))
        with (root / INDEX).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def read(root: Path) -> list[dict[str, Any]]:
    """Return one entry for each run under ``root``, oldest first, and repair the index.

    Finished runs are taken from the index; all others are read from their directories.
    """
    known: dict[str, dict[str, Any]] = {}
    path = root / INDEX
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        try:
            found = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(found, dict) and found.get("status") == "done" and "run" in found:
            known[str(found["run"])] = found
    entries = []
    for place in PLACES:
        for config in sorted(root.glob(f"{place}/*/config.yaml")):
            if config.parent.name.startswith("."):
                continue  # not made whole yet
            run = config.parent.relative_to(root).as_posix()
            entries.append(known.get(run) or entry(RunDirectory(config.parent), root))
    done = [json.dumps(each) for each in entries if each["status"] == "done"]
    if done != lines and root.is_dir():
        with contextlib.suppress(OSError):  # somebody else's folder can be read all the same
            write_text(path, "".join(f"{line}\n" for line in done))
    return sorted(entries, key=lambda each: str(each["run"]).rsplit("/", 1)[-1])
