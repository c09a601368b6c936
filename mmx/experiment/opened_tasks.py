"""Data of tasks, opened once a process as long as all its files stay as they were.

The runs of a sweep mostly have the same data. A task that cannot name its files is opened anew.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from mmx.config.nodes import ConfigNode
from mmx.runs.file_states import FileState, are_settled, read_states
from mmx.tasks import Task, TaskData

KEPT = 2
"""Opened tasks that are kept: a source and a target. The oldest is forgotten first."""


@dataclass(frozen=True)
class _Opened:
    data: TaskData
    states: dict[Path, FileState]


_OPENED: OrderedDict[str, _Opened] = OrderedDict()
"""Config node of a task, as JSON, to what it was opened to."""


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
    data = task.load()
    # A subclass may read more files than the class that it has list_files from.
    files = task.list_files(data) if "list_files" in vars(type(task)) else None
    states = None if files is None else read_states(files)
    if states is not None and are_settled(states, began):
        _OPENED[key] = _Opened(data, states)
        if len(_OPENED) > KEPT:
            _OPENED.popitem(last=False)
    return data
