r"""Text from others, made safe for a terminal.

Names of classes, columns and files come from data and from other people's runs. A terminal
obeys escape sequences: ``ESC [ 2 J`` clears the screen, U+202E reverses the reading direction.
Such characters are shown by their number instead, as ``\x1b``.
"""

from __future__ import annotations

import re

VALUE = 200
"""Characters shown of one value, which may have a million."""
LINE = 2_000
"""Characters shown of one line."""
OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # directions of reading
    "\u2028\u2029\ufeff"  # separators of lines and paragraphs; byte order mark
    "\ud800-\udfff]"  # bytes of a file name that are no text: they cannot be written
)


def printable(text: str) -> str:
    """Return text with control characters shown by their number; newlines and tabs stay."""
    return OBEYED.sub(lambda found: _number(found[0]), text)


def one_line(text: str, most: int = LINE) -> str:
    r"""Return printable text on one line: a newline is shown as ``\n``, a tab as ``\t``."""
    if len(text) <= most and text.isprintable():
        return text
    shown = printable(shorten(text, most))
    return shown.replace("\n", "\\n").replace("\t", "\\t")


def shorten(text: str, most: int = VALUE) -> str:
    """Return a text of at most ``most`` characters; a longer one is cut and ends in ``…``."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _number(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
