"""The keys that an override sets, those of mappings in its value included."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, QuotedString

from mmx.config import compose

_OTHER = re.compile(r"[^\w.-]")


def list_override_keys(word: str) -> list[str]:
    """Return the keys that an override sets; that of one with a package ends with ``@``.

    Raises:
        ConfigError: It cannot be read.
    """
    with compose.composer():
        (parsed,) = compose.parse([word])
    key = parsed.key_or_group if parsed.package is None else f"{parsed.key_or_group}@"
    return list(_walk(key, parsed._value))


def _walk(key: str, value: Any) -> Iterator[str]:
    """Yield a key, and those below it."""
    yield key
    if isinstance(value, ChoiceSweep):
        value = value.list
    if isinstance(value, dict):
        for name, inner in value.items():
            named = name.text if isinstance(name, QuotedString) else str(name)
            yield from _walk(f"{key}.{_OTHER.sub('_', named)}", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(key, inner)
