"""Cells of tables as text or as files, with one meaning in CSV, TSV, Parquet and JSON."""

from __future__ import annotations

import base64
import datetime
import decimal
from typing import Any

from mmx.modalities.members import Member
from mmx.modalities.number_spelling import NumberText

ColumnCells = list[Any]


def as_text(cell: Any, missing: frozenset[str]) -> str | None:
    """Return a cell as text, None where it is missing; whole numbers have no ".0".

    A number of the file with a point, which may mean something else in texts, is a
    :class:`~mmx.modalities.number_spelling.NumberText`.

    Raises:
        TypeError: It has no representation as text; the message says what it is.
    """
    if type(cell) is str and cell.isascii():  # most cells of most tables, without surrogates
        return None if cell.strip() in missing else cell
    if cell is None or cell != cell:  # NaN is not itself
        return None
    # As CSV and JSON write the same values, so that a table can change its format.
    if isinstance(cell, bool):  # before numbers, since True is an int
        return str(cell).lower()
    if isinstance(cell, int | float | decimal.Decimal):
        number = _write_number(cell)
        if number in missing:
            return None
        return NumberText(number) if "." in number else number
    if isinstance(cell, bytes):
        try:
            cell = cell.decode()
        except UnicodeDecodeError as error:
            raise TypeError(f"{len(cell)} bytes that are not UTF-8") from error
    text = _write_plain(cell)
    return None if text.strip() in missing else text


def _write_number(number: float | decimal.Decimal) -> str:
    """Return a number without an exponent where it has a whole or an exact value."""
    if isinstance(number, decimal.Decimal):
        return format(number, "f")  # str() may write an exponent
    return str(int(number) if isinstance(number, float) and number.is_integer() else number)


def _write_plain(cell: Any) -> str:
    """Return ``str`` of a cell. Raises TypeError where that is no text of a table."""
    for kind, what in (
        (list, "a list"),
        (dict, "an object"),
        (datetime.timedelta, "a duration"),
        (Member, "a file"),
    ):
        if isinstance(cell, kind):
            raise TypeError(what)
    text = str(cell)
    try:
        text.encode()
    except UnicodeEncodeError as error:  # a JSON escape such as "\ud83d" on its own
        raise TypeError("half a surrogate pair") from error
    return text


def as_file(cell: Any, missing: frozenset[str]) -> str | bytes | Member | None:
    """Return a cell as the path of a file, or as its bytes; None where it is missing.

    A text such as ``data:image/png;base64,…`` holds the bytes. Of an object with ``bytes`` and
    ``path``, as Hugging Face's data sets embed files, the bytes are used if there are any, else
    the path.

    Raises:
        TypeError: It is none of these; the message says what it is.
    """
    if isinstance(cell, dict):
        if not cell.keys() & {"bytes", "path"}:
            raise TypeError("an object without bytes and path")
        cell = cell.get("bytes") or cell.get("path")  # empty bytes count as none
    if isinstance(cell, Member):
        return cell
    if isinstance(cell, bytes):
        return cell or None
    text = as_text(cell, missing)
    head, comma, content = (text or "").partition(";base64,")
    if not comma or not head.lower().startswith("data:"):
        return text
    try:
        return base64.b64decode(content, validate=True)
    except ValueError as error:
        raise TypeError(f"a data: address that is not base64 ({error})") from error
