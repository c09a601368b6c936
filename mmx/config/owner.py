"""Keys that only a command line may set: where files are written, and whether to download.

A config folder may be untrusted. Its files may not set these keys, so that files are written,
removed from the cache or downloaded only as the person at the command line wants.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import PurePath
from typing import Any

from mmx.config.nodes import ConfigNode
from mmx.errors import Problem
from mmx.quoting import format_value

WRITTEN = ("output_dir", "cache")
"""A file may name a folder below the working directory; elsewhere, only a command line may."""
_REASON = "stands in a file, and only a command line says that"


def refuse_owners_keys(config: ConfigNode, typed: Sequence[str], own: ConfigNode) -> list[Problem]:
    """Return the keys that a file sets although only a command line may.

    Args:
        config: Composed and resolved.
        typed: The overrides of the command line.
        own: mmx's root config alone, resolved.
    """
    keys = {text.lstrip("+").partition("=")[0] for text in typed}
    problems = [
        _problem(key, config[key], own[key])
        for key in WRITTEN
        if key not in keys and config.get(key) != own[key] and _is_elsewhere(config.get(key))
    ]
    if "cache_gb" not in keys and config.get("cache_gb") != own["cache_gb"]:
        problems.append(_problem("cache_gb", config.get("cache_gb"), own["cache_gb"]))
    return [*problems, *_refuse_downloads(config, keys, own)]


def _refuse_downloads(
    config: ConfigNode, keys: Collection[str], own: ConfigNode
) -> Iterator[Problem]:
    """Yield downloads, and their folders, that a file asks for and not the command line."""
    downloads = [key for key, value in _find_keys(config, "download", "") if value is not False]
    for key in downloads:
        if not {key, "download"} & {*keys}:
            yield _problem(key, True, False)
    for key, value in _find_keys(config, "data_dir", "") if downloads else ():
        if value != own["data_dir"] and not {key, "data_dir"} & {*keys}:
            yield _problem(key, value, own["data_dir"])


def _problem(key: str, value: Any, own: Any) -> Problem:
    typed = f"{key}={format_value(own)}   (or what you mean)"
    return Problem(f"{key}={format_value(value)}", _REASON, type_this=typed)


def _is_elsewhere(value: Any) -> bool:
    """Return whether a folder is not below the working directory."""
    if not isinstance(value, str):
        return value is not None
    path = PurePath(value)
    return path.is_absolute() or ".." in path.parts or value.startswith("~")


def _find_keys(node: Any, name: str, path: str) -> Iterator[tuple[str, Any]]:
    """Yield each key of this name in a config, and its value."""
    if isinstance(node, dict):
        for key, value in node.items():
            where = f"{path}.{key}" if path else str(key)
            if key == name:
                yield where, value
            else:
                yield from _find_keys(value, name, where)
