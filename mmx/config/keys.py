"""The keys of a composed config, with dots between their parts: what stands there, what is near."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmx.config.nodes import ConfigNode
from mmx.errors import closest
from mmx.stage_id import Role


def find_nearest_key(key: str, names: Sequence[str]) -> str | None:
    """Return the name most like a key: among its siblings, else as a whole, else by last part.

    A key without a parent that is one of the target's, such as ``path``, is meant as that.
    """
    parent, _, last = key.rpartition(".")
    if not parent and key not in names and (own := f"{Role.TARGET}.{key}") in names:
        return own
    siblings = [name for name in names if parent and name.rpartition(".")[0] == parent]
    if near := closest(last, [name.rpartition(".")[2] for name in siblings]):
        return f"{parent}.{near}"
    if not siblings and (near := closest(key, names)):
        return near
    near = closest(last, [name.rpartition(".")[2] for name in names])
    return next((name for name in names if near and name.rpartition(".")[2] == near), None)


def get_node(config: ConfigNode, key: str) -> Any:
    """Return what stands at a key; None where nothing does."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def has_key(config: ConfigNode, key: str) -> bool:
    """Return whether a config may have a key."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            # A list index or a key of a free mapping (target.columns) is for the signature.
            return isinstance(node, list)
        node = node[part]
    return True


def list_keys(config: ConfigNode, prefix: str = "") -> list[str]:
    """Return the keys that take a value; a node is chosen by its group."""
    found: list[str] = []
    for key, value in config.items():
        if isinstance(value, dict) and value:
            found.extend(list_keys(value, f"{prefix}{key}."))
        elif key != "_target_":
            found.append(prefix + key)
    return found


def list_siblings(config: ConfigNode, key: str, known: Sequence[str]) -> str:
    """Return the siblings of a key, or for a root key the groups and root keys."""
    prefix = key.rpartition(".")[0]
    node = get_node(config, prefix) if prefix else None
    if isinstance(node, dict):
        return ", ".join(f"{prefix}.{name}" for name in node if name != "_target_")
    plain = [name for name, value in config.items() if not isinstance(value, dict)]
    return ", ".join([*known, "trainer.<key>", *plain])
