"""What an experiment is, as one digest: runs of the same digest answer the same question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any

WHERE_NOT_WHAT = ("data_dir", "output_dir", "download", "cache", "cache_gb")
HOW_NOT_WHAT = ("resident", "workers", "checkpoint_seconds", "threads")
"""Keys that do not change what an experiment is, and so not its fingerprint."""


def fingerprint(config: dict[str, Any]) -> str:
    """Return the hex digest of a canonical config, less where and how fast it runs."""
    text = json.dumps(essence(config), sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def essence(config: dict[str, Any]) -> dict[str, Any]:
    """Return a canonical config, or some of its nodes, less where and how fast it runs.

    ``1`` and ``1.0`` are the same number. Keys are left out of the root, the trainer and
    nodes with ``_target_``; a free mapping, such as of class names, counts whole.
    """

    def what(node: Any) -> Any:
        if isinstance(node, dict):
            ignored = WHERE_NOT_WHAT if "_target_" in node else ()
            return {key: what(value) for key, value in node.items() if key not in ignored}
        if isinstance(node, (list, tuple)):
            return [what(item) for item in node]
        return int(node) if isinstance(node, float) and node.is_integer() else node

    kept: dict[str, Any] = what(_without(config, WHERE_NOT_WHAT))
    if isinstance(trainer := kept.get("trainer"), dict):
        kept["trainer"] = _without(trainer, HOW_NOT_WHAT)
    return kept


def _without(node: dict[str, Any], ignored: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in ignored}
