"""What an experiment is, as one digest: runs of the same digest answer the same question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any

WHERE_NOT_WHAT = ("data_dir", "output_dir", "download")
HOW_NOT_WHAT = ("resident", "workers", "checkpoint_seconds", "threads")
"""Keys that do not change what an experiment is, and so not its fingerprint."""


def fingerprint(config: dict[str, Any]) -> str:
    """Return the hex digest of a canonical config, less where and how fast it runs."""

    def what(node: Any, ignored: Collection[str]) -> Any:
        if isinstance(node, dict):
            return {k: what(v, WHERE_NOT_WHAT) for k, v in node.items() if k not in ignored}
        return [what(item, ()) for item in node] if isinstance(node, (list, tuple)) else node

    kept = {
        key: what(node, (*WHERE_NOT_WHAT, *HOW_NOT_WHAT) if key == "trainer" else WHERE_NOT_WHAT)
        for key, node in config.items()
        if key not in WHERE_NOT_WHAT
    }
    text = json.dumps(kept, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
