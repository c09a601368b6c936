"""Entries and facts of all runs under an output folder, read from disk only where they changed.

What reads a run directory is imported only when a run has to be read: of 10,000 runs that are
known, a list is there at once.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmx.errors import MmxError
from mmx.runs.index_cache import CellValue, IndexCache, stamp, stamp_file
from mmx.runs.index_entry import IndexEntry, list_run_names

ENDED = ("done", "failed", "interrupted")
"""Statuses that do not change unless a file of the run does."""
TOGETHER = 200
"""Runs whose facts are kept in one go, so that a stopped reading is not lost."""
LONG = 500
"""Runs whose configs take seconds to read, which is then said."""


def read_index(root: Path) -> list[IndexEntry]:
    """Return one entry for each run under ``root``, oldest first, and repair the index.

    A run directory that is not what mmx wrote has the status ``?`` and an error that says why. A
    run that has ended is read once, and again when one of its files has changed.
    """
    entries: list[IndexEntry] = []
    new: dict[str, tuple[str, Any]] = {}
    with IndexCache(root) as cache:
        kept = cache.read("entry")
        for run in list_run_names(root):
            mark = stamp(f"{root}/{run}")
            known = kept.pop(run, None)
            if known is not None and known[0] == mark:
                entries.append(known[1])
                continue
            found = _read_entry(root, run)
            entries.append(found)
            if found["status"] in ENDED:
                new[run] = mark, found
        index_file = kept.pop(INDEX_ROW, None)
        if new or kept or index_file is None or index_file[0] != stamp_file(root / INDEX_ROW):
            _repair(root, entries)
            new[INDEX_ROW] = stamp_file(root / INDEX_ROW), None
        cache.keep("entry", new)
        cache.forget(kept)
    return entries


INDEX_ROW = "index.jsonl"
"""The file for scripts; its own row says which state of it agreed with the runs."""


def _read_entry(root: Path, run: str) -> IndexEntry:
    from mmx.runs import index

    return index.read_entry(root, run)


def _repair(root: Path, entries: Sequence[IndexEntry]) -> None:
    from mmx.runs import index

    index.repair(root, entries)


def read_run_facts(root: Path, keys: Sequence[str]) -> dict[str, list[CellValue]]:
    """Return run to the values of some facts, for each run under ``root`` that is readable.

    Args:
        root: The output folder.
        keys: Dotted keys as in :func:`mmx.runs.index.facts`; what a run lacks is None.
    """
    with IndexCache(root) as cache:
        kept = cache.read_facts(keys)
        found = {}
        for run, known, read in _walk_facts(root, cache, kept):
            found[run] = known if read is None else [read.get(key) for key in keys]
    return found


def list_fact_keys(root: Path) -> list[str]:
    """Return the keys of the facts that any run under ``root`` has, sorted."""
    found: set[str] = set()
    with IndexCache(root) as cache:
        for _, known, read in _walk_facts(root, cache, cache.read("facts")):
            found |= (known if read is None else read).keys()
    return sorted(found)


def _walk_facts(
    root: Path, cache: IndexCache, kept: dict[str, tuple[str, Any]]
) -> Iterator[tuple[str, Any, dict[str, CellValue] | None]]:
    """Return run, what was kept of it, and its facts if they had to be read; keep those."""
    new: dict[str, tuple[str, Any]] = {}
    runs = {run: stamp(f"{root}/{run}") for run in list_run_names(root)}
    unknown = {run for run, mark in runs.items() if run not in kept or kept[run][0] != mark}
    if len(unknown) >= LONG:
        print(f"reading the settings of {len(unknown):,} runs once …", file=sys.stderr)
    for run, mark in runs.items():
        if run not in unknown:
            yield run, kept[run][1], None
            continue
        with contextlib.suppress(MmxError):
            new[run] = mark, _read_facts(root, run)
            yield run, None, new[run][1]
        if len(new) >= TOGETHER:
            cache.keep("facts", new)
            new.clear()
    cache.keep("facts", new)


def _read_facts(root: Path, run: str) -> dict[str, CellValue]:
    from mmx.runs import index
    from mmx.runs.directory import RunDirectory

    return index.facts(RunDirectory(root / run))
