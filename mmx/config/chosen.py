"""The option by which each part of a config was chosen: ``fusion=mine`` is called ``mine``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmx.config.composed import Composed
from mmx.config.locate import find_options

TARGET_LINE = re.compile(r"^_target_\s*:\s*['\"]?([\w.]+)", re.MULTILINE)
HEAD_BYTES = 1_000_000
"""Bytes of a YAML file that are searched for its target."""


def find_chosen_names(composed: Composed, extra: Sequence[Path] = ()) -> dict[str, str]:
    """Return the option of each group, where its name describes the part that was built.

    Where the class was decided otherwise, such as by ``fusion._target_=…`` or an experiment's
    file, the option's name would be misleading, and the group is left out.

    Args:
        composed: A config with its choices and overrides.
        extra: The user's config directories.
    """
    replaced = {text.lstrip("+~").partition("=")[0] for text in composed.overrides}
    found = {}
    for group, option in composed.choices.items():
        target = find_target(composed.config, group)
        if target is None or f"{group.replace('/', '.')}._target_" in replaced:
            continue
        said = read_target(find_options(group, extra).get(option))
        if said is None or said == target:
            found[group] = option
    return found


def find_target(config: Mapping[str, Any], group: str) -> str | None:
    """Return the class that a group's node names; None where there is none."""
    node: Any = config
    for key in group.split("/"):
        node = node.get(key) if isinstance(node, Mapping) else None
    target = node.get("_target_") if isinstance(node, Mapping) else None
    return target if isinstance(target, str) else None


def read_target(path: Path | None) -> str | None:
    """Return the class that an option's own file names; None where its defaults name it."""
    if path is None:
        return None
    try:
        with path.open(encoding="utf-8") as file:
            found = TARGET_LINE.search(file.read(HEAD_BYTES))
    except (OSError, ValueError):
        return None
    return found[1] if found else None
