"""Data of tasks, opened once a process as long as all its files stay as they were.

The runs of a sweep mostly have the same data, and those that differ in the seed the same rows in
other splits. A task that cannot name its files is opened anew.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from mmx.config.nodes import ConfigNode
from mmx.runs.file_states import FileState, are_settled, read_states
from mmx.tasks import Samples, Task, TaskData

KEPT = 2
"""Opened tasks that are kept: a source and a target. The oldest is forgotten first."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Opened:
    data: TaskData
    states: dict[Path, FileState]


@dataclass(frozen=True)
class _Read:
    samples: Samples
    states: dict[Path, FileState]


_OPENED: OrderedDict[str, _Opened] = OrderedDict()
"""Config node of a task, as JSON, to what it was opened to."""
_READ: OrderedDict[str, _Read] = OrderedDict()
"""The same without the seed of its splits, to what was read: seeds of a sweep divide it alone."""


def open_data(task: Task, node: ConfigNode) -> TaskData:
    """Return the opened data of a task, which nothing may change in place.

    Args:
        task: The task.
        node: Its config.

    Raises:
        DataError: The data is absent (the tip says how to get it), or a row is unusable.
    """
    key = json.dumps(node, sort_keys=True, default=str)
    known = _OPENED.get(key)
    if known is not None and read_states(known.states) == known.states:
        _OPENED.move_to_end(key)
        return known.data
    _OPENED.pop(key, None)
    began = time.time_ns()
    if not vars(type(task)).get("reads_alike", False):  # a subclass may read otherwise
        data = task.load()
        _keep(_OPENED, key, _find_settled(task, data, began), partial(_Opened, data))
        return data
    shared = json.dumps({**node, "split_seed": None}, sort_keys=True, default=str)
    read = _READ.get(shared)
    states: dict[Path, FileState] | None
    if read is not None and read_states(read.states) == read.states:
        data, states = task.divide(read.samples), read.states
        _READ.move_to_end(shared)
    else:
        samples = task.read()
        data = task.divide(samples)
        states = _find_settled(task, data, began)
        _READ.pop(shared, None)
        _keep(_READ, shared, states, partial(_Read, samples))
    _keep(_OPENED, key, states, partial(_Opened, data))
    return data


def _find_settled(task: Task, data: TaskData, began: int) -> dict[Path, FileState] | None:
    """Return the states of all files of a task; None where they are unknown, or may change."""
    # A subclass may read more files than the class that it has list_files from.
    files = task.list_files(data) if "list_files" in vars(type(task)) else None
    states = None if files is None else read_states(files)
    return states if states is not None and are_settled(states, began) else None


def _keep(
    kept: OrderedDict[str, _T],
    key: str,
    states: dict[Path, FileState] | None,
    make: Callable[[dict[Path, FileState]], _T],
) -> None:
    """Keep what was opened as long as files have these states; the oldest goes first."""
    if states is None:
        return
    kept[key] = make(states)
    kept.move_to_end(key)
    if len(kept) > KEPT:
        kept.popitem(last=False)
