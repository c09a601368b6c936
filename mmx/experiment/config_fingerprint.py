"""What an experiment is, as one digest: runs of the same digest answer the same question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmx.config.nodes import ConfigNode
from mmx.stage_id import TASK_ROLES
from mmx.trackers import TOLD

WHERE_NOT_WHAT = {
    "data_dir": "where data lies; the digest of its content counts",
    "output_dir": "where results go",
    "download": "whether files may be fetched; their content counts",
    "cache": "where artifacts are kept",
    "cache_gb": "how many artifacts are kept",
}
"""Root keys that do not change an experiment's numbers, nor its fingerprint, and why."""
HOW_NOT_WHAT = {
    "resident": "where decoded rows are kept",
    "workers": "how many processes decode",
    "checkpoint_seconds": "how often the state is saved",
    "threads": "how many cores compute: sums may differ in their last bits",
}
"""Keys of the trainer that do not change the fingerprint, and why."""

PLACES = ("path", "root")
"""Options of a task with the paths of its files; their content has its own digest."""
FILE_OPTIONS = ("weights", "model", "adapter")
"""Options of an encoder that may name a file or folder; its content counts, not its place."""


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
    return _digest(_put_digests(what, dict.fromkeys(_find_file_options(what), "")))


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


def is_file_option(key: str, value: Any) -> bool:
    """Return whether an encoder's option names a file or folder of this machine.

    A ``model`` may also be the name of an architecture, or of a repository.
    """
    if not isinstance(value, str):
        return False
    return key == "weights" or (key in FILE_OPTIONS and Path(value).is_absolute())


def _find_file_options(config: ConfigNode) -> dict[str, list[str]]:
    """Return the options that name files, by modality of the encoder."""
    nodes = config.get("encoder")
    found = {
        name: [key for key, value in node.items() if is_file_option(key, value)]
        for name, node in (nodes.items() if isinstance(nodes, dict) else ())
        if isinstance(node, dict)
    }
    return {name: keys for name, keys in found.items() if keys}


def essence_with_weights(config: ConfigNode, weights: Mapping[str, str]) -> ConfigNode:
    """Return the essence of a config, with weight files replaced by their digests."""
    return _put_digests(essence(config), weights)


def _put_digests(what: ConfigNode, weights: Mapping[str, str]) -> ConfigNode:
    nodes = what.get("encoder")
    if not weights or not isinstance(nodes, dict):
        return what
    changed = {
        name: {
            **{key: "" if is_file_option(key, value) else value for key, value in node.items()},
            "weights": digest,
        }
        for name, digest in weights.items()
        if isinstance(node := nodes.get(name), dict)
    }
    return {**what, "encoder": {**nodes, **changed}}


def _digest(what: Any) -> str:
    text = json.dumps(what, sort_keys=True, default=str)  # the order of keys does not count
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def essence(config: ConfigNode) -> ConfigNode:
    """Return a canonical config, or some of its nodes, without where and how fast it runs.

    Who is told of it does not count either.

    ``1`` and ``1.0`` count as the same number. Keys are left out of the root, the trainer and
    nodes with ``_target_``; a free mapping, such as one of class names, counts as a whole.
    """

    def what(node: Any) -> Any:
        if isinstance(node, dict):
            ignored = WHERE_NOT_WHAT if "_target_" in node else ()
            return {key: what(value) for key, value in node.items() if key not in ignored}
        if isinstance(node, (list, tuple)):
            return [what(item) for item in node]
        return int(node) if isinstance(node, float) and node.is_integer() else node

    kept: ConfigNode = what(_drop_keys(config, {**WHERE_NOT_WHAT, **TOLD}))
    if isinstance(trainer := kept.get("trainer"), dict):
        kept["trainer"] = _drop_keys(trainer, HOW_NOT_WHAT)
    return kept


def _drop_keys(node: ConfigNode, ignored: Collection[str]) -> ConfigNode:
    return {key: value for key, value in node.items() if key not in ignored}
