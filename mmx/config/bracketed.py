"""Values in brackets that the override grammar does not read as they were typed."""

from __future__ import annotations

import re
from typing import Any

import yaml

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?", re.IGNORECASE)
_WORDS = {"null": None, "true": True, "false": False}


def read_bracketed(text: str) -> dict[str, Any] | list[Any] | None:
    """Return the mapping or list that a text in brackets means.

    Texts in it need no quotes, whatever they hold but commas, colons and brackets:
    ``[Größe, Preis (EUR)]`` is a list of two texts.

    Returns:
        Plain data; None where the text is no whole mapping or list, or has an interpolation.
    """
    if not re.fullmatch(r"\{.*\}|\[.*\]", text, re.DOTALL) or "${" in text:
        return None
    try:
        found = yaml.load(text, yaml.BaseLoader)  # texts, lists and mappings
    except (yaml.YAMLError, RecursionError, TypeError, ValueError):
        return None
    return _read(found) if isinstance(found, (dict, list)) else None


def _read(value: Any) -> Any:
    """Return a value with its numbers and words such as ``true`` as what they are."""
    if isinstance(value, dict):
        return {key: _read(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_read(item) for item in value]
    if _NUMBER.fullmatch(value):
        return int(value) if re.fullmatch(r"[+-]?\d+", value) else float(value)
    return _WORDS.get(value, value)
