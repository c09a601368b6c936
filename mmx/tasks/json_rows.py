"""Rows of JSON files: one object on each line, or a list of objects. Strings stay strings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmx.errors import DataError
from mmx.tasks.table_text import check_utf8, read_table_text

TIP = "write one JSON object on each line, or a list of objects"


def open_json(
    path: Path, encoding: str | None = None
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return all rows, and notes. Whole numbers of any length are exact.

    Raises:
        DataError: The file is not JSON, or a row is not an object; the message names the line.
    """
    text, notes = read_table_text(path, encoding)
    # Checked before parsing, which would report a surrogate without its line.
    whole = text.split("\n")
    check_utf8(path, whole, list(range(1, len(whole) + 1)))
    try:
        return list(_parse_rows(text)), notes
    except _PositionError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DataError(f"cannot read table {path}: line {line}: {error}", tip=TIP) from error


def collect_keys(rows: list[dict[str, Any]]) -> list[str]:
    """Return all keys, in the order of their first occurrence."""
    return list(dict.fromkeys(key for row in rows for key in row))


class _PositionError(ValueError):
    """An error at a position of the text."""

    def __init__(self, why: object, position: int) -> None:
        super().__init__(str(why))
        self.position = position


def _parse_rows(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a text."""
    decoder = json.JSONDecoder(object_pairs_hook=_make_object, parse_float=_parse_float)
    at = _skip_space(text, 0)
    whole = text[at : at + 1] == "["
    while at < len(text):
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise _PositionError(error.msg, error.pos) from error
        except (ValueError, RecursionError) as error:
            raise _PositionError(error, at) from error
        rows = value if whole and isinstance(value, list) else [value]
        for number, row in enumerate(rows, start=1):
            if not isinstance(row, dict):
                place = f"item {number} of the list" if whole else "the line"
                raise _PositionError(f"{place} is not an object but {json.dumps(row)[:40]}", at)
            yield row
        at = _skip_space(text, end)
        if whole and at < len(text):
            raise _PositionError("the list has ended, but the file goes on", at)


def _skip_space(text: str, at: int) -> int:
    """Return the position at which the next value starts."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has the key '{twice}' twice")
    return row


def _parse_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # such as 1e999, which Python reads as infinity
        raise ValueError(f"the number {text} is too large")
    return number
