"""Near-duplicates as files: all pairs, or the table with a group for each row."""

from __future__ import annotations

import csv
import io
from itertools import chain
from pathlib import Path

from mmx.evaluation.near_duplicates import NearDuplicates, group_rows
from mmx.tasks import TaskData
from mmx.tasks.table import Table

GROUP = "near_duplicate_group"
"""Column of the groups."""
PAIR_HEADS = (
    "modality",
    "row",
    "split",
    "file",
    "other_row",
    "other_split",
    "other_file",
    "distance",
)


def format_pairs(data: TaskData, found: NearDuplicates) -> str:
    """Return all pairs of rows of different splits as CSV; rows count from 1."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(PAIR_HEADS)
    for name in found.found:
        column = data.columns[name]
        for pair in found.nearest(name):
            here, there = column.find_file(pair.row), column.find_file(pair.other)
            lines.writerow(
                [
                    name,
                    pair.row + 1,
                    found.split_of[pair.row],
                    here or "",
                    pair.other + 1,
                    found.split_of[pair.other],
                    there or "",
                    f"{pair.distance:.4f}",
                ]
            )
    return text.getvalue()


def format_groups(task: Table, data: TaskData, found: NearDuplicates) -> str:
    """Return the table as CSV with a column of groups, so that rows that are alike have one.

    Paths become absolute, so that the file may lie anywhere.

    Raises:
        DataError: A column holds what is not text.
    """
    count = len(data.values)
    pairs = chain.from_iterable(each.pairs for each in found.found.values())
    groups = group_rows(count, pairs)
    names = list(data.column_uses)
    texts = task.read_texts(names) if names else {}
    for name, use in data.column_uses.items():
        for modality in use.split(" and "):
            column = data.columns.get(modality)
            if column is None or column.sources is None:
                continue
            files = [column.find_file(row) for row in range(count)]
            texts[name] = [
                text if file is None else str(Path(str(file)).absolute())
                for text, file in zip(texts[name], files, strict=True)
            ]
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([*names, GROUP])
    for row in range(count):
        lines.writerow([*(texts[name][row] for name in names), f"g{groups[row] + 1}"])
    return text.getvalue()


def find_group_column(task: Table, data: TaskData, found: NearDuplicates) -> str | None:
    """Return a column of which both rows of each pair have the same cell, and most rows others.

    None where no column could keep all pairs in one split.
    """
    pairs = [pair for name in found.found for pair in found.nearest(name)]
    if not pairs:
        return None
    free = [name for name, use in data.column_uses.items() if not use]
    if not free:
        return None
    for name, cells in (task.read_texts(free) or {}).items():
        different = len(set(cells))
        agree = all(cells[pair.row] and cells[pair.row] == cells[pair.other] for pair in pairs)
        if agree and 10 * different >= len(cells):
            return name
    return None
