"""Digests by which a changed bit in a run's files is seen.

A sealed mapping holds the digest of its other entries: for JSON that is written again and
again, and for single lines of JSONL.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "digest"
"""Under this name a sealed mapping holds its digest."""


def digest(data: bytes) -> str:
    """Return the digest of bytes, 32 hex digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def sealed(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON-able mapping with the digest of all its entries."""
    return {**data, SEAL: _digest_of(data)}


def unsealed(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a sealed mapping without its digest; None where it is not what was sealed."""
    found = {key: value for key, value in data.items() if key != SEAL}
    return found if data.get(SEAL) == _digest_of(found) else None


def _digest_of(data: Mapping[str, Any]) -> str:
    return digest(json.dumps(data, sort_keys=True).encode())
