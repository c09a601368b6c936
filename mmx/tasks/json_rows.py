"""Rows of JSON files: one object on each line, or a list of objects. Strings stay strings."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmx.errors import DataError
from mmx.tasks.table_text import check_utf8, read_table_text, stream_text

TIP = "write one JSON object on each line, or a list of objects"


def open_json(
    path: Path, encoding: str | None = None
) -> tuple[list[dict[str, Any]], list[int], tuple[str, ...]]:
    """Return all rows, the line of each, and notes. Whole numbers of any length are exact.

    The items of a list have no lines.

    Raises:
        DataError: The file is not JSON, or a row is not an object; the message names the line.
    """
    text, notes = read_table_text(path, encoding)
    # Checked before parsing, which would report a surrogate without its line.
    try:
        text.encode()
    except UnicodeEncodeError:
        whole = text.split("\n")
        check_utf8(path, whole, list(range(1, len(whole) + 1)))
    rows, lines = [], []
    line, done = 1, 0
    try:
        for row, at in _parse_rows(text):
            line += text.count("\n", done, at)
            done = at
            rows.append(row)
            lines.append(line)
        _refuse_other_layouts(path, rows)
        return rows, [] if text.lstrip().startswith("[") else lines, notes
    except _PositionError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DataError(f"cannot read table {path}: line {line}: {error}", tip=TIP) from error


def stream_json(
    path: Path, encoding: str | None = None
) -> tuple[Callable[[], Iterator[tuple[dict[str, Any], int]]], tuple[str, ...]] | None:
    """Return what reads rows and their lines in order, and notes; None for another layout.

    Of one object on each line only; what is wrong with another file is said by :func:`open_json`.
    """
    text, notes = stream_text(path, encoding)
    decoder = _make_decoder()

    def iterate() -> Iterator[tuple[dict[str, Any], int]]:
        for line, whole in enumerate(_join_returns(text.lines()), start=1):
            at = _skip_space(whole, 0)
            while at < len(whole):
                row, end = decoder.raw_decode(whole, at)
                if not isinstance(row, dict):
                    raise ValueError("not an object")
                yield row, line
                at = _skip_space(whole, end)
            if not whole.isascii():
                whole.encode()  # a lone surrogate is no UTF-8

    try:
        count = sum(1 for _ in iterate())
    except (ValueError, RecursionError):
        return None
    return (iterate, notes) if count > 1 else None  # one object may hold all rows


def _join_returns(lines: Iterator[str]) -> Iterator[str]:
    """Yield lines that end with a line feed, as lines are counted here."""
    held = ""
    for line in lines:
        held += line
        if held.endswith("\n"):
            yield held
            held = ""
    if held:
        yield held


def _refuse_other_layouts(path: Path, rows: list[dict[str, Any]]) -> None:
    """Refuse one object that holds all rows, under a key or by column.

    Raises:
        DataError: The message says how to write the rows.
    """
    if len(rows) != 1 or not rows[0]:
        return
    values = list(rows[0].values())
    first, name = values[0], shlex.quote(str(path))
    key = next(iter(rows[0]))
    if len(values) == 1 and isinstance(first, list) and first and isinstance(first[0], dict):
        raise DataError(
            f"{path} is one object, with {len(first)} rows in '{key}'",
            tip="python -c 'import json, sys; [print(json.dumps(row)) for rows in "
            f"json.load(sys.stdin).values() for row in rows]' <{name} >rows.jsonl",
        )
    if all(isinstance(one, dict) and one and all(map(str.isdecimal, one)) for one in values):
        raise DataError(
            f"{path} is one object, with a column of {len(first)} rows in '{key}'",
            tip=f"in pandas: pandas.read_json({str(path)!r})"
            ".to_json('rows.jsonl', orient='records', lines=True)",
        )


def collect_keys(rows: list[dict[str, Any]]) -> list[str]:
    """Return all keys, in the order of their first occurrence."""
    return list(dict.fromkeys(key for row in rows for key in row))


def find_path(rows: list[dict[str, Any]], names: list[str], name: str) -> list[str] | None:
    """Return the keys that a dotted name such as ``meta.price`` leads along, or None.

    Args:
        rows: All rows; one of them must have a value there.
        names: All keys of the rows themselves, which may have dots.
        name: The name.
    """
    if name in names:
        return [name]
    for path in list_paths(name):
        if path[0] in names and any(has_path(row, path) for row in rows):
            return path
    return None


def list_paths(name: str) -> list[list[str]]:
    """Return the ways in which a dotted name may lead along keys, the longest first key first."""
    parts = name.split(".")
    return [[".".join(parts[:end]), *parts[end:]] for end in range(len(parts) - 1, 0, -1)]


def has_path(row: Any, path: list[str]) -> bool:
    """Return whether some keys lead to a value."""
    for key in path:
        if not isinstance(row, dict) or key not in row:
            return False
        row = row[key]
    return True


def follow_path(row: Any, path: list[str]) -> Any:
    """Return the value at the end of some keys, None where there is none."""
    for key in path:
        row = row.get(key) if isinstance(row, dict) else None
    return row


class _PositionError(ValueError):
    """An error at a position of the text."""

    def __init__(self, why: object, position: int) -> None:
        super().__init__(str(why))
        self.position = position


def _parse_rows(text: str) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the objects of a text, and the position of each (of a list: that of the list)."""
    decoder = _make_decoder()
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
            yield row, at
        at = _skip_space(text, end)
        if whole and at < len(text):
            raise _PositionError("the list has ended, but the file goes on", at)


def _make_decoder() -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_make_object, parse_float=_parse_float)


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
