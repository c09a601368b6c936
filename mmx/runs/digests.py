"""Digests that make any changed bit in a run's files noticeable.

A sealed mapping contains the digest of its other entries; it is used for lines of JSONL. A
sealed text is a JSON file that contains the digest of all its other characters.
"""

from __future__ import annotations

import hashlib
import json
import re

from mmx.json_object import Json

SEAL = "digest"
"""The entry of a sealed mapping that contains its digest."""
_BLANK = "0" * 32


def digest(data: bytes) -> str:
    """Return the digest of bytes, 32 hex digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def seal(data: Json) -> Json:
    """Return a JSON-able mapping with a digest of all its entries."""
    return {**data, SEAL: _digest_of(data)}


def unseal(data: Json) -> Json | None:
    """Return a sealed mapping without its digest; None if the digest does not match."""
    found = {key: value for key, value in data.items() if key != SEAL}
    return found if data.get(SEAL) == _digest_of(found) else None


def seal_text(data: Json, *, ascii_only: bool = False) -> str:
    """Return a JSON-able mapping as the text of a file that ends with its own digest."""
    rest = {key: value for key, value in data.items() if key != SEAL}
    # The digest is computed over the whole text with zeros in its own place.
    text = json.dumps({**rest, SEAL: _BLANK}, indent=2, ensure_ascii=ascii_only) + "\n"
    return _replace_seal(text, _BLANK, digest(text.encode()))


def prepare_seal(data: Json) -> Json:
    """Return a mapping that :func:`~mmx.runs.atomic.as_json` turns into a sealed text."""
    found: Json = json.loads(seal_text(data))
    return found


def looks_sealed(data: Json) -> bool:
    """Return whether JSON that was read contains a digest, even if its key is damaged."""
    texts = [value for value in data.values() if isinstance(value, str)]
    return SEAL in data or any(re.fullmatch(r"[0-9a-f]{32}", text) for text in texts)


def is_intact(text: str, data: Json) -> bool:
    """Return whether a sealed text is what was written; ``data`` was parsed from it."""
    found = data.get(SEAL)
    if not isinstance(found, str) or len(found) != len(_BLANK):
        return False
    # surrogatepass: a damaged escape such as \ud800 parses, but plain UTF-8 cannot encode it.
    return digest(_replace_seal(text, found, _BLANK).encode(errors="surrogatepass")) == found


def _replace_seal(text: str, old: str, new: str) -> str:
    """Return a text with the last occurrence of the old digest replaced."""
    before, _, after = text.rpartition(old)
    return f"{before}{new}{after}"


def _digest_of(data: Json) -> str:
    return digest(json.dumps(data, sort_keys=True).encode())
