"""Rows as CSV text that a spreadsheet shows without running anything in it.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, which
can call programs. Such a cell is written with an apostrophe before it, unless it is a number;
:func:`unescape_cell` removes the apostrophe. A cell that already begins with such an apostrophe
gets a second one, so that every cell is read back unchanged.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE | re.ASCII)
FORMULA = re.compile("'*([\t\r\n]|\\s*[=+\\-@＝＋－＠])")
"""The beginning of a cell that a spreadsheet would run, with or without apostrophes before it."""

END = "\r\n"
"""The end of a line of the writer's."""


def format_csv(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV, one line each; None is an empty cell."""
    escaped = [
        [
            # Most cells are empty, whole, or begin with a letter or a digit: no call for them.
            cell
            if not cell
            or type(cell) is int
            or (type(cell) is str and cell[0].isalnum() and cell.isascii())
            else escape_cell(cell)
            for cell in row
        ]
        for row in rows
    ]
    text = _write(escaped)
    if text.count(END) > len(escaped):  # some cell has such an end of line in it
        return "".join(_write([row]).removesuffix(END) + "\n" for row in escaped)
    return text.replace(END, "\n")


def _write(rows: Sequence[Sequence[object]]) -> str:
    file = io.StringIO(newline="")
    # With another end of line, a bare carriage return in a cell would not be quoted.
    csv.writer(file, lineterminator=END).writerows(rows)
    return file.getvalue()


def escape_cell(cell: object) -> object:
    """Return what is written for a cell."""
    if not isinstance(cell, str):
        return cell
    # A file name may hold bytes that are not UTF-8; they are written as \udc80 and the like.
    cell = cell.encode("utf-8", "backslashreplace").decode()
    return f"'{cell}" if FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell


def unescape_cell(cell: str) -> str:
    """Return the text that :func:`escape_cell` was given for a cell."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
