"""A composed config with the meaning of each key behind it, as the config files have it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from mmx.config.composed import Composed
from mmx.config.locate import builtin_directory, read_headline, read_text_or_empty
from mmx.config.option_files import list_option_files
from mmx.config.yaml_comments import find_comment_place, read_comments, walk_keys
from mmx.printable import one_line

COLUMN = 40
"""Comments begin at this column at most, unless the value itself is longer."""
_PACKAGE = re.compile(r"# @package (\S+)")


def collect_comments(composed: Composed, extra: Sequence[Path] = ()) -> dict[str, str]:
    """Return the comment of each key of a config, from the files of its options.

    A node has what was chosen, and its headline.

    Args:
        composed: A config with its choices.
        extra: The user's config directories.
    """
    found = read_comments(read_text_or_empty(builtin_directory() / "config.yaml"))
    for group, option in composed.choices.items():
        files = list_option_files(group, option, extra)
        if group == "experiment" or not files:
            continue
        prefix = group.replace("/", ".")
        found[prefix] = f"{group}={option}: {read_headline(files[0])}"
        for path in reversed(files):  # the nearest file wins
            own = read_comments(read_text_or_empty(path))
            found |= {f"{prefix}.{key}": comment for key, comment in own.items()}
    return found


def add_comments(text: str, comments: Mapping[str, str]) -> str:
    """Return a config as Hydra prints it with comments; it reads as the same data.

    Args:
        text: YAML in block style. A first line ``# @package target`` says of which node it is.
        comments: Key, with dots between its parts, to comment.
    """
    package = _PACKAGE.match(text)
    start = "" if package is None or package[1] == "_global_" else f"{package[1]}."
    lines = text.split("\n")
    placed: dict[str, list[tuple[int, str]]] = {}
    for path, key, value in walk_keys(yaml.compose(text, Loader=yaml.SafeLoader)):
        if comment := comments.get(f"{start}{path}"):
            node = path.rpartition(".")[0]
            placed.setdefault(node, []).append((find_comment_place(lines, key, value)[0], comment))
    for siblings in placed.values():
        column = min(max(len(lines[line]) for line, _ in siblings), COLUMN) + 2
        for line, comment in siblings:
            code = lines[line]
            lines[line] = f"{code.ljust(max(column, len(code) + 2))}# {one_line(comment)}"
    return "\n".join(lines)
