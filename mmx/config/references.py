"""References between the keys of a config: ``${key}``, and no function calls.

OmegaConf's resolvers (``${oc.env:HOME}``, ``${oc.create:…}``, ``${hydra:…}``) read the
environment and make nodes out of text after everything has been checked. No config needs them:
mmx accepts references to keys only, and bounds the size of what they expand to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mmx.config.nodes import ConfigNode
from mmx.errors import Problem

MOST_VALUES = 100_000
"""Values of a config, where a reference counts as many as it expands to."""
MOST_CHARACTERS = 2**20
"""Characters of all its texts, counted in the same way."""
MOST_STEPS = 100
"""Longest chain of references that is followed."""
_OPENED = re.compile(r"\$\{")
_REFERENCE = re.compile(r"\$\{(\.*[A-Za-z_][\w-]*(?:\.[\w-]+|\[\w+\])*)\}", re.ASCII)


def refuse_calls(node: Any, path: str) -> list[Problem]:
    """Return the interpolations of an unresolved config that are not references to keys.

    Args:
        node: Plain data, with its references as they were written.
        path: Where it stands in the config.
    """
    return [
        Problem(
            f"{where}={_shorten(text)}",
            "is no reference to a key: a config calls nothing, and reads no environment",
            accepted="${key}, ${key.key}",
        )
        for where, text in _walk_texts(node, path)
        if len(_OPENED.findall(text)) != len(_REFERENCE.findall(text))
    ]


def refuse_growth(config: ConfigNode) -> list[Problem]:
    """Return references that contain themselves, or expand to more than a config can hold.

    Args:
        config: The whole config, with its references as they were written.
    """
    sizes = _Sizes(config)
    for key, value in config.items():
        try:
            nodes, characters = sizes.of(value, (str(key),))
        except RecursionError:
            return [
                Problem(
                    str(key),
                    "holds a reference that leads back to itself, or through too many others",
                )
            ]
        if nodes > MOST_VALUES or characters > MOST_CHARACTERS:
            reason = (
                f"stands for more than {MOST_VALUES:,} values or {MOST_CHARACTERS:,} characters"
            )
            return [Problem(str(key), reason)]
    return []


class _Sizes:
    """Counts the values and the characters that a node expands to, visiting each place once."""

    def __init__(self, config: ConfigNode) -> None:
        self.config = config
        self.known: dict[tuple[str, ...], tuple[int, int]] = {}
        self.open: set[tuple[str, ...]] = set()

    def of(self, node: Any, path: tuple[str, ...]) -> tuple[int, int]:
        """Return ``(values, characters)`` of a node.

        Raises:
            RecursionError: It contains itself.
        """
        if path in self.known:
            return self.known[path]
        if path in self.open:  # we are inside it already: a cycle
            raise RecursionError
        self.open.add(path)
        self.known[path] = self._count(node, path)
        self.open.discard(path)
        return self.known[path]

    def _count(self, node: Any, path: tuple[str, ...]) -> tuple[int, int]:
        if isinstance(node, dict):
            parts = [self.of(value, (*path, str(key))) for key, value in node.items()]
            return 1 + len(node) + sum(n for n, _ in parts), sum(c for _, c in parts)
        if isinstance(node, list):
            parts = [self.of(value, (*path, str(index))) for index, value in enumerate(node)]
            return 1 + sum(n for n, _ in parts), sum(c for _, c in parts)
        if not isinstance(node, str):
            return 1, 0
        nodes, characters = 1, len(node)
        for name in _REFERENCE.findall(node):
            target, found = self._follow(self._absolute(name, path))
            if found is not None:
                more = self.of(found, target)
                nodes, characters = nodes + more[0], characters + more[1]
        return nodes, characters

    @staticmethod
    def _absolute(name: str, path: tuple[str, ...]) -> tuple[str, ...]:
        """Return the path of a name: ``.a`` is a sibling of the reference, ``..a`` one level up."""
        key = name.lstrip(".")
        dots = len(name) - len(key)
        parts = tuple(part for part in re.split(r"[.\[\]]+", key) if part)
        return (*path[: max(0, len(path) - dots)], *parts) if dots else parts

    def _follow(self, path: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
        """Return the path after following references within it, and the value there.

        The value is None where the path does not exist; resolving the config reports it.
        """
        for _ in range(MOST_STEPS):
            node: Any = self.config
            for index, part in enumerate(path):
                if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                    node = node[int(part)]
                elif isinstance(node, dict):
                    node = next((value for key, value in node.items() if str(key) == part), None)
                elif isinstance(node, str) and (reference := _REFERENCE.fullmatch(node)):
                    path = (*self._absolute(reference[1], path[:index]), *path[index:])
                    break
                else:
                    return path, None
            else:
                return path, node
        raise RecursionError


def _walk_texts(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield each text of a node with its path."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _walk_texts(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _walk_texts(value, f"{path}[{index}]")
    elif isinstance(node, str):
        yield path, node


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
