"""What an experiment is, as one digest: runs of the same digest answer the same question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from mmx.config.nodes import ConfigNode
from mmx.runs.essence import PLACES, essence, essence_with_weights, is_file_option, put_digests
from mmx.stage_id import TASK_ROLES


def fingerprint(config: ConfigNode, weights: Mapping[str, str] | None = None) -> str:
    """Return the hex digest of a canonical config, without where and how fast it runs.

    Args:
        config: Canonical.
        weights: Modality to the digest of the weight file that its encoder starts from; it
            replaces the file's path.
    """
    return _digest(essence_with_weights(config, weights or {}))


def digest_config(config: ConfigNode) -> str:
    """Return the digest of a config without the paths of data and weights."""
    what = essence(config)
    for role in TASK_ROLES:
        if isinstance(node := what.get(role), dict):
            blank = {key: "" for key in PLACES if isinstance(node.get(key), (str, list, dict))}
            what[role] = {**node, **blank}
    return _digest(put_digests(what, dict.fromkeys(_find_file_options(what), "")))


def list_places(config: ConfigNode) -> dict[str, str]:
    """Return the paths of data and weights in a config, by config path."""
    found: dict[str, str] = {}
    for role in TASK_ROLES:
        node = config.get(role)
        given = node if isinstance(node, dict) else {}
        for key in (*PLACES, "data_dir"):
            found |= dict(walk_paths(f"{role}.{key}", given.get(key)))
    for name, keys in _find_file_options(config).items():
        found |= {f"encoder.{name}.{key}": config["encoder"][name][key] for key in keys}
    return found


def walk_paths(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the paths in an option that is a path, a list of them, or a mapping to such.

    Args:
        key: Name of the option, with which the names of the paths begin.
        value: The option.
    """
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, (list, dict)):
        each = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in each:
            yield from walk_paths(f"{key}.{name}", inner)


def _find_file_options(config: ConfigNode) -> dict[str, list[str]]:
    """Return the options that name files, by modality of the encoder."""
    nodes = config.get("encoder")
    found = {
        name: [key for key, value in node.items() if is_file_option(key, value)]
        for name, node in (nodes.items() if isinstance(nodes, dict) else ())
        if isinstance(node, dict)
    }
    return {name: keys for name, keys in found.items() if keys}


def _digest(what: Any) -> str:
    text = json.dumps(what, sort_keys=True, default=str)  # the order of keys does not count
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
