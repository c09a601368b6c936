"""Overrides as text that can be typed: quoted for Hydra's grammar, then for the shell."""

from __future__ import annotations

import re
import shlex
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_/][\w./-]*( [\w./-]+)*", re.ASCII)
"""Text that Hydra's grammar reads as itself."""
_WORDS = re.compile(r"null|true|false|nan|inf", re.IGNORECASE)
"""Words that the grammar reads as another type than text."""
_SHELL = re.compile(r"[\w@%+=:,./\[\]~-]+", re.ASCII)
"""Text that common shells pass on unchanged; brackets could match only unlikely file names."""
_OF_KEYS = re.compile(r"""([\\()\[\]{}:=, \t])""")


def quote_value(value: Any) -> str:
    """Return a value as Hydra's override grammar reads it back.

    Args:
        value: Plain data. Text with an interpolation, such as ``${data_dir}/a``, stays one.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        pairs = (f"{_quote_key(key)}: {quote_value(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(quote_value(item) for item in value) + "]"
    if isinstance(value, float):
        short = f"{value:g}"  # 1e-05 rather than 1.0000000000000001e-05, where that is exact
        return short if float(short) == value else repr(value)
    return _quote_text(value) if isinstance(value, str) else str(value)


def format_value(value: Any) -> str:
    """Return a value for a message: as one would type it, floats short and text without quotes."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        pairs = (f"{key}: {format_value(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(format_value(item) for item in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _quote_text(text: str) -> str:
    if _PLAIN.fullmatch(text) and not _WORDS.fullmatch(text):
        return text
    quote = "'" if '"' in text else '"'
    # Backslashes escape only where a quote follows them, the closing one too.
    escaped = re.sub(rf"(\\+)(?={quote}|\Z)", r"\1\1", text)
    return quote + escaped.replace(quote, f"\\{quote}") + quote


def _quote_key(key: Any) -> str:
    """Return a key of a mapping: the grammar has no quotes for it, only escapes."""
    return _OF_KEYS.sub(r"\\\1", key) if isinstance(key, str) else quote_value(key)


def quote_for_shell(text: str) -> str:
    """Return one word of a command line as a shell passes it on."""
    return text if _SHELL.fullmatch(text) else shlex.quote(text)


def type_override(key: str, value: Any) -> str:
    """Return the override that sets a key to a value, quoted for a shell."""
    return quote_for_shell(f"{key}={quote_value(value)}")
