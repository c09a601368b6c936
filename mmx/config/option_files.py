"""The files that one option is composed from: its own, and those that its defaults list names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmx.config.locate import builtin_directory, find_options, read_text_or_empty
from mmx.config.signature import MISSING
from mmx.stage_id import Role

DEFAULTS = "defaults"


def list_option_files(group: str, option: str, extra: Sequence[Path] = ()) -> list[Path]:
    """Return an option's file and the files of its group that it is based on, nearest first.

    Args:
        group: A config group.
        option: An option of it.
        extra: The user's config directories.
    """
    options = find_options(group, extra)
    found: list[Path] = []
    waiting = [option.removesuffix(".yaml")]
    while waiting:
        path = options.get(waiting.pop(0))
        if path is not None and path not in found:
            found.append(path)
            waiting.extend(_list_bases(read_node(path)))
    return found


def read_node(path: Path) -> dict[str, Any]:
    """Return what a file states; nothing where it cannot be read as a mapping."""
    try:
        node = yaml.safe_load(read_text_or_empty(path))
    except yaml.YAMLError:
        return {}
    return node if isinstance(node, dict) else {}


def _list_bases(node: dict[str, Any]) -> Iterator[str]:
    """Yield the options of its own group that a file's defaults list names."""
    defaults = node.get(DEFAULTS)
    for item in defaults if isinstance(defaults, list) else []:
        if isinstance(item, str) and item != "_self_":
            yield item.rpartition("/")[2]


def reads_own_data(task: str, extra: Sequence[Path] = ()) -> bool:
    """Return whether a task reads data that the user names, or is the user's own.

    A task of mmx says so by keys without a value (``path: ???``).

    Args:
        task: An option of the group ``target``.
        extra: The user's config directories.
    """
    files = list_option_files(Role.TARGET, task, extra)
    own = any(not path.is_relative_to(builtin_directory()) for path in files)
    return own or any(MISSING in read_node(path).values() for path in files)


def chooses(group: str, experiment: str, extra: Sequence[Path] = ()) -> bool:
    """Return whether an experiment's file, or one that it is based on, chooses a group's option."""
    for path in list_option_files("experiment", experiment, extra):
        defaults = read_node(path).get(DEFAULTS)
        for item in defaults if isinstance(defaults, list) else []:
            names = item if isinstance(item, dict) else {}
            if any(str(name).removeprefix("override ").strip("/ ") == group for name in names):
                return True
    return False
