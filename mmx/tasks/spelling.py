"""One spelling of booleans, numbers and times, as CSV, JSON and Parquet write them differently."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation

from mmx.modalities.number_spelling import NumberText, RespelledNumber, find_written

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
BOOLEAN = re.compile(r"true|false", re.I)
BIT = {"1": "true", "0": "false", "true": "true", "false": "false"}
"""Spellings of booleans to the one that is kept where words are among them."""
LEADING_ZERO = re.compile(r"[+-]?0[0-9]")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?")
MIDNIGHT_SUFFIX = re.compile(r"[T ]00:00(:00(\.0+)?)?")
LONGEST_POWER = 300

TextCells = list[str | None]


def unify_spelling(cells: TextCells) -> TextCells:
    """Return the cells of a column, spelled as other formats would spell the same values.

    ``True`` becomes ``true`` where all cells are booleans, and so does ``1`` among them; ``1.0``
    becomes ``1`` and ``0.50`` becomes ``0.5`` where all are numbers; ``2021-01-01T00:00`` becomes
    ``2021-01-01`` where all are midnights. Codes such as ``007`` stay as they are, and so does any
    other column.
    """
    known = [cell for cell in cells if cell is not None]
    if not known:
        return cells
    if _all_fit(BOOLEAN, known):
        return _spell_each(cells, str.lower)
    if _all_fit(NUMBER, known):
        return _spell_each(cells, _respell_number)
    if all(find_bit(cell) for cell in known):
        return _spell_each(cells, find_bit)
    return _unify_times(cells) if _all_fit(TIME, known) else cells


def _spell_each(cells: TextCells, spell: Callable[[str], str | None]) -> TextCells:
    """Return the cells in another spelling; missing ones stay missing."""
    return [None if cell is None else spell(cell) for cell in cells]


def _respell_number(cell: str) -> str:
    """Return a number in the common spelling, which remembers how the file writes it."""
    spelled = spell_number(cell)
    if spelled == cell:
        return cell
    written = find_written(cell)
    return NumberText(spelled) if written is None else RespelledNumber(spelled, written)


def find_bit(cell: str) -> str | None:
    """Return the boolean that a cell is, as a word, or None."""
    if NUMBER.fullmatch(cell):
        cell = spell_number(cell)
    return BIT.get(cell.lower())


def _all_fit(pattern: re.Pattern[str], cells: Sequence[str]) -> bool:
    return all(pattern.fullmatch(cell) for cell in cells)


def spell_number(text: str) -> str:
    """Return a number without a sign of plus, zeros at its end or an exponent.

    The value is the same to the last digit; codes with zeros at their beginning stay.
    """
    if text.isdecimal() or LEADING_ZERO.match(text):
        return text
    if "." in text and "e" not in text and not text.endswith(".0") and repr(float(text)) == text:
        return text  # the shortest spelling, as below, without the exact arithmetic
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if abs(number.adjusted()) > LONGEST_POWER:  # its digits would be too many
        return text
    if number == number.to_integral_value():
        return str(int(number))
    whole = format(number, "f").rstrip("0")
    short = repr(float(text))  # as JSON and Parquet spell it, if that is the same number
    return short if Decimal(short) == number else whole


def _unify_times(cells: Sequence[str | None]) -> TextCells:
    if all(cell is None or MIDNIGHT_SUFFIX.fullmatch(cell[10:]) for cell in cells):
        return [None if cell is None else cell[:10] for cell in cells]
    return [None if cell is None else cell.replace("T", " ") for cell in cells]
