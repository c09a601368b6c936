"""The comments of a YAML file, by the key that they explain.

A comment stands behind the value of its key, and may go on below, deeper than the key. Where there
is none, the lines of comments right above the key explain it; those at the head of a file explain
the file::

    head: linear  # trained by gradients,
                  # on cached features
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode


def read_comments(text: str) -> dict[str, str]:
    """Return key, with dots between its parts, to the comment that explains it, on one line.

    Args:
        text: YAML, which is only parsed. Without comments, or where it cannot be read, there
            is none.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return {}
    lines = text.splitlines()
    found = {}
    for path, key, value in walk_keys(root):
        comment = _read_beside(lines, key, value) or _read_above(lines, key)
        if comment:
            found[path] = comment
    return found


def walk_keys(node: Node | None, prefix: str = "") -> Iterator[tuple[str, ScalarNode, Node]]:
    """Yield the path, key and value of every key of block mappings, in the order of the text."""
    if not isinstance(node, MappingNode) or node.flow_style:
        return
    for key, value in node.value:
        if isinstance(key, ScalarNode):
            path = f"{prefix}{key.value}"
            yield path, key, value
            yield from walk_keys(value, f"{path}.")


def find_comment_place(lines: list[str], key: ScalarNode, value: Node) -> tuple[int, int]:
    """Return the line and column behind which a comment of a key may stand."""
    block = isinstance(value, ScalarNode) and value.style in ("|", ">")
    nested = isinstance(value, CollectionNode) and not value.flow_style
    if block or (nested and value.start_mark.line > key.end_mark.line):
        line = key.start_mark.line  # the value begins below
        text = lines[line]
        start = key.end_mark.column
        hash_ = text.find(" #", start)
        return line, len(text[: hash_ if hash_ >= 0 else None].rstrip())
    return value.end_mark.line, value.end_mark.column


def _read_beside(lines: list[str], key: ScalarNode, value: Node) -> str:
    """Return the comment behind a value, and its lines that follow."""
    line, column = find_comment_place(lines, key, value)
    rest = lines[line][column:].strip() if line < len(lines) else ""
    if not rest.startswith("#"):
        return ""
    found = [rest.lstrip("# ").strip()]
    below = lines[line + 1 :] if value.end_mark.line <= line else []  # not within a block of text
    for text in below:
        # A comment deeper than the key goes on with the one before.
        indent = len(text) - len(text.lstrip())
        if not text.strip().startswith("#") or indent <= key.start_mark.column:
            break
        found.append(text.strip().lstrip("# "))
    return " ".join(found)


def _read_above(lines: list[str], key: ScalarNode) -> str:
    """Return the lines of comments right above a key; the head of a file explains no key."""
    found: list[str] = []
    number = key.start_mark.line - 1
    indent = " " * key.start_mark.column
    while number >= 0 and lines[number].startswith(f"{indent}#"):
        found.insert(0, lines[number].strip().lstrip("# "))
        number -= 1
    return "" if number < 0 else " ".join(found)
