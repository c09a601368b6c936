"""How a CSV file is written, where it is not left to be found."""

from __future__ import annotations

from typing import Literal

from mmx.errors import closest

DELIMITER_WORDS = {",": "a comma", "\t": "a tab", ";": "';'", "|": "'|'", " ": "a space"}
"""Usual delimiters in words."""
NAMED = {"comma": ",", "tab": "\t", "\\t": "\t", "semicolon": ";", "pipe": "|", "space": " "}
"""Words for delimiters that are awkward to type."""
ENCODINGS = ("utf-8", "utf-16", "latin-1", "windows-1252", "gb18030", "shift_jis", "big5")
"""Some of the encodings that Python knows, for messages."""

Quoting = Literal["double", "single", "backslash", "none"]


class CsvFormat:
    """How CSV and TSV files are written; what is None is found, and said where it is unusual.

    Args:
        delimiter: What separates cells: one character, or comma, tab, semicolon, pipe, space.
        encoding: Such as utf-8, utf-16, latin-1 or windows-1252; of JSON files too.
        decimal: The decimal mark of numbers, a point or a comma. The other one, if there is
            any, separates thousands.
        quoting: What encloses cells with delimiters or line breaks: double or single quotes, in
            which a quote is written twice; backslash: double quotes, in which a quote follows
            a backslash; none: quotes are part of their cells.

    Raises:
        ValueError: The delimiter is not one character, or the encoding is unknown.
    """

    def __init__(
        self,
        *,
        delimiter: str | None = None,
        encoding: str | None = None,
        decimal: Literal[".", ","] | None = None,
        quoting: Quoting | None = None,
    ) -> None:
        self.delimiter = delimiter
        self.encoding = encoding
        self.decimal = decimal
        self.quoting = quoting
        mark = self.delimiter_mark
        if mark is not None and (len(mark) != 1 or mark in "\"'\\\r\n"):
            raise ValueError(
                f"`delimiter` (={self.delimiter!r}) must be one character, "
                f"or one of {', '.join(word for word in NAMED if word.isalpha())}"
            )
        if self.encoding is not None and not _is_encoding(self.encoding):
            near = closest(self.encoding, ENCODINGS)
            raise ValueError(
                f"`encoding` (={self.encoding}) is no encoding of text; accepted: "
                f"{', '.join(ENCODINGS)} and others that Python knows"
                + (f"; closest: {near}" if near else "")
            )

    @property
    def delimiter_mark(self) -> str | None:
        """The delimiter as one character."""
        return None if self.delimiter is None else NAMED.get(self.delimiter, self.delimiter)


def _is_encoding(name: str) -> bool:
    """Return whether Python decodes bytes to text by that name."""
    try:
        b"ab".decode(name, "ignore")
    except UnicodeError:
        return True
    except (LookupError, ValueError):  # unknown, NUL in it, or not of text, such as zlib
        return False
    return True
