r"""Text of somebody else, as a terminal may show it.

Names of classes, columns and files reach the screen from data and from runs of others. A
terminal obeys what it takes for a command: ``ESC [ 2 J`` clears the screen, U+202E turns the
direction of reading. Such characters are shown by their number instead, as ``\x1b``.
"""

from __future__ import annotations

import re

VALUE = 200
"""Letters that are shown of one value: somebody else's may have a million."""
LINE = 2_000
"""Letters that are shown of one line."""
OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # directions of reading
    "\u2028\u2029\ufeff"  # separators of lines and paragraphs; byte order mark
    "\ud800-\udfff]"  # bytes of a file name that are no text: they cannot be written
)


def printable(text: str) -> str:
    """Return text with all that a terminal obeys shown by its number; its lines stay lines."""
    return OBEYED.sub(lambda found: _number(found[0]), text)


def one_line(text: str, most: int = LINE) -> str:
    r"""Return the same on one line: a newline is shown as ``\n``, a tab as ``\t``."""
    shown = printable(shorten(text, most))
    return shown.replace("\n", "\\n").replace("\t", "\\t")


def shorten(text: str, most: int = VALUE) -> str:
    """Return a text with at most so many letters; a longer one ends in ``…``."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _number(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
