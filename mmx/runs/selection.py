"""Runs of an output folder with the values that are asked for, filtered and sorted.

One place knows what a key stands for: a part or number of the index entry, a test metric, or
any setting or number of the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmx.errors import UsageError, closest
from mmx.runs.conditions import Condition, keys_of
from mmx.runs.index_cache import CellValue
from mmx.runs.index_entry import IndexEntry
from mmx.runs.index_reading import list_fact_keys, read_index, read_run_facts

ENTRY_KEYS = tuple(key for key in IndexEntry.__annotations__ if key != "test")
SPLITS = ("test", "val")
NOT_FINITE = ("nan", "inf", "-inf")


@dataclass(frozen=True)
class FoundRun:
    """A run and its values.

    Attributes:
        entry: As the index has it.
        values: Key to value, for each key that was asked for.
    """

    entry: IndexEntry
    values: dict[str, CellValue]


def select_runs(
    root: Path,
    conditions: Sequence[Condition] = (),
    *,
    keys: Sequence[str] = (),
    sort: str | None = None,
) -> list[FoundRun]:
    """Return the runs under a folder that fulfil all conditions, oldest first or sorted.

    Args:
        root: The output folder.
        conditions: What a run must fulfil.
        keys: Further keys whose values are wanted.
        sort: The key to sort by, ascending; runs without it come first.

    Raises:
        UsageError: No run has a key.
    """
    entries = read_index(root)
    wanted = list(dict.fromkeys([*keys_of(conditions), *keys, *([sort] if sort else [])]))
    found = _read_values(root, entries, wanted)
    chosen = [
        FoundRun(entry, values)
        for entry, values in zip(entries, found, strict=True)
        if all(each.holds(values[each.key]) for each in conditions)
    ]
    if sort is not None:
        chosen.sort(key=lambda run: _order(run.values[sort]))
    return chosen


def find_fact(facts: Mapping[str, CellValue], key: str) -> CellValue:
    """Return the value of a key among the facts of one run, as :func:`select_runs` reads it."""
    names = f"target.metrics.test.{key}", _OWN_NAMES.get(key, ""), _as_fact(key)
    for name in (*names, _OTHER_NAMES.get(key, "")):
        if name in facts:
            return facts[name]
    return None


_OWN_NAMES = {
    "gain": "gain.value",
    "seconds": "timing.total_s",
    "source": "source.task",
    "target": "target.task",
}
"""Keys of an index entry to the facts that they are read from."""
_OTHER_NAMES = {"transfer": "transfer.mode", "regularizer": "transfer.regularizer.name"}
"""Those of a run without an option of that name."""


def _read_values(
    root: Path, entries: Sequence[IndexEntry], keys: Sequence[str]
) -> list[dict[str, CellValue]]:
    """Return key to value for each entry; facts are read only for keys beyond the entries."""
    metrics = {name for entry in entries for name in entry["test"]}
    others = [key for key in keys if key not in ENTRY_KEYS and key not in metrics]
    facts = read_run_facts(root, [_as_fact(key) for key in others]) if others else {}
    for place, key in enumerate(others):
        if entries and all(values[place] is None for values in facts.values()):
            _refuse_unknown(root, key, metrics)
    rows = []
    for entry in entries:
        read = facts.get(entry["run"], [None] * len(others))
        values: dict[str, CellValue] = dict(zip(others, read, strict=True))
        rows.append({key: values[key] if key in values else _look_up(entry, key) for key in keys})
    return rows


def _look_up(entry: IndexEntry, key: str) -> CellValue:
    """Return a value of an entry: one of its own, or a test metric."""
    if key in ENTRY_KEYS:
        value: Any = entry.get(key)
        return value if value is None or isinstance(value, str | int | float) else str(value)
    return entry["test"].get(key)


def _as_fact(key: str) -> str:
    """Return the key of a fact: ``val.accuracy`` is short for ``target.metrics.val.accuracy``."""
    split, _, name = key.partition(".")
    return f"target.metrics.{key}" if split in SPLITS and name else key


def _refuse_unknown(root: Path, key: str, metrics: set[str]) -> None:
    """Refuse a key that no run has, unless it exists with nothing but null in it."""
    known = set(list_fact_keys(root))
    if _as_fact(key) in known:
        return
    every = [*ENTRY_KEYS, *sorted(metrics), *sorted(known)]
    close = closest(key, every)
    said = f"; did you mean {close}?" if close else ""
    raise UsageError(
        f"no run under {root} has the key {key!r}{said}",
        tip=f"mmx list {root} --keys shows all keys",
    )


def _order(value: CellValue) -> tuple[int, float, str]:
    """Return what values of different types are sorted by: none and nan, then numbers, texts."""
    if isinstance(value, str) and value in NOT_FINITE:  # as facts keep them
        value = float(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return 0, 0.0, ""
    return (2, 0.0, value) if isinstance(value, str) else (1, float(value), "")
