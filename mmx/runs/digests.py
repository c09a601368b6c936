"""Digests by which a changed bit in a run's files is seen.

A sealed mapping holds the digest of its other entries, for single lines of JSONL; a sealed
text is a JSON file that holds the digest of all its other characters.
"""

from __future__ import annotations

import hashlib
import json
import re

from mmx.json_object import Json

SEAL = "digest"
"""Under this name a sealed mapping holds its digest."""
_BLANK = "0" * 32


def digest(data: bytes) -> str:
    """Return the digest of bytes, 32 hex digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def sealed(data: Json) -> Json:
    """Return a JSON-able mapping with the digest of all its entries."""
    return {**data, SEAL: _digest_of(data)}


def unsealed(data: Json) -> Json | None:
    """Return a sealed mapping without its digest; None where it is not what was sealed."""
    found = {key: value for key, value in data.items() if key != SEAL}
    return found if data.get(SEAL) == _digest_of(found) else None


def sealed_text(data: Json, *, ascii_only: bool = False) -> str:
    """Return a JSON-able mapping as the text of a file that holds its own digest, last."""
    rest = {key: value for key, value in data.items() if key != SEAL}
    text = json.dumps({**rest, SEAL: _BLANK}, indent=2, ensure_ascii=ascii_only) + "\n"
    return _with_seal(text, _BLANK, digest(text.encode()))


def for_sealed_text(data: Json) -> Json:
    """Return what :func:`~mmx.runs.atomic.as_json` makes a sealed text of."""
    found: Json = json.loads(sealed_text(data))
    return found


def looks_sealed(data: Json) -> bool:
    """Return whether JSON that was read holds a digest, be it under a name that was damaged."""
    texts = [value for value in data.values() if isinstance(value, str)]
    return SEAL in data or any(re.fullmatch(r"[0-9a-f]{32}", text) for text in texts)


def intact(text: str, data: Json) -> bool:
    """Return whether a sealed text, which ``data`` was read from, is what was written."""
    found = data.get(SEAL)
    if not isinstance(found, str) or len(found) != len(_BLANK):
        return False
    return digest(_with_seal(text, found, _BLANK).encode(errors="surrogatepass")) == found


def _with_seal(text: str, old: str, new: str) -> str:
    """Return a text with another digest in the last place where the old one stands."""
    before, _, after = text.rpartition(old)
    return f"{before}{new}{after}"


def _digest_of(data: Json) -> str:
    return digest(json.dumps(data, sort_keys=True).encode())
