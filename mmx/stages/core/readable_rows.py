"""Which rows a trained model can read, and why it cannot read the others."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from mmx.errors import DataError
from mmx.experiment import Modalities
from mmx.stages.core.context import Specs
from mmx.tasks import TaskData
from mmx.training.data import Rows

ROW = re.compile(r"^row \d+: ")
"""The start of a message that names a row."""


def find_unreadable_rows(
    task: TaskData, modalities: Modalities, specs: Specs, rows: Iterable[int]
) -> dict[int, str]:
    """Return the rows with a file or cell that cannot be read, and why.

    Rows are tried one by one. A row that only lacks a modality can be read.

    Args:
        task: The data of a task.
        modalities: The modalities by name.
        specs: Modality to its spec.
        rows: Row numbers to try.
    """
    found: dict[int, str] = {}
    for row in rows:
        for name, modality in modalities.items():
            try:
                modality.encode(task.columns[name], [row], specs[name])
            except DataError as error:
                found[int(row)] = ROW.sub("", error.message)
                break
    return found


def find_empty_rows(task: TaskData, modalities: Iterable[str], rows: Rows) -> dict[int, str]:
    """Return the rows that have none of the modalities, each with the reason in words."""
    names = sorted(modalities)
    reason = f"has no {' and no '.join(names)}"
    some = np.zeros(len(rows), dtype=bool)
    for name in names:
        some |= task.columns[name].present[rows]
    return dict.fromkeys(rows[~some].tolist(), reason)


def find_lost_files(
    task: TaskData, modalities: Iterable[str], rows: Iterable[int]
) -> dict[int, str]:
    """Return the rows that name a file which does not exist, and which."""
    found: dict[int, str] = {}
    some = [name for name in modalities if task.columns[name].lost]
    for row in rows if some else ():
        lost = [
            f"{name}: {path} does not exist"
            for name in some
            if (path := task.columns[name].lost.get(int(row))) is not None
        ]
        if lost:
            found[int(row)] = "; ".join(lost)
    return found
