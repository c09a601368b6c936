"""What a task is called in reports: its own name, or that of its file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from mmx.json_object import Json
from mmx.stage_id import TASK_ROLES
from mmx.table_suffixes import strip_compression

NAMED_AFTER_FILES = {
    "mmx.tasks.table.Table": "table",
    "mmx.tasks.image_folder.ImageFolder": "image_folder",
}
"""Classes of tasks of one's own data, and the names that they have where none is given."""


def find_task_name(node: Mapping[str, Any]) -> str | None:
    """Return the name of a task for reports; None where its config has none.

    A table or a folder without a name of its own is called as its file: ``products`` for
    ``data/products.csv.gz``.

    Args:
        node: The task's config.
    """
    name, path = node.get("name"), node.get("path")
    usual = NAMED_AFTER_FILES.get(str(node.get("_target_")))
    if name is None or name != usual or not isinstance(path, str):
        return None if name is None else str(name)
    return _name_file(path) or usual


def name_as_files(summary: Json, config: Mapping[str, Any]) -> Json:
    """Return a summary with tasks called as their files, where an earlier mmx wrote ``table``."""
    found = dict(summary)
    for role in map(str, TASK_ROLES):
        node, result = config.get(role), found.get(role)
        if isinstance(node, Mapping) and isinstance(result, dict) and (name := node.get("name")):
            names = str(result.get("task")).split("+")  # published+table
            named = [find_task_name(node) if each == name else each for each in names]
            found[role] = {**result, "task": "+".join(map(str, named))}
    return found


def _name_file(path: str) -> str:
    """Return a file's name without its endings, as a name may be; empty for a pattern."""
    stem = "" if {"*", "?", "["} & set(path) else strip_compression(PurePath(path)).stem
    return re.sub(r"[^\w.+-]+", "_", stem, flags=re.ASCII).strip("_.+-")
