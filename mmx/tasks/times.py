"""Times of a column, read exactly: numbers, dates, or dates with time, in one form throughout."""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np

from mmx.errors import DataError
from mmx.modalities.files import name_row as number_row
from mmx.tasks.advice import type_task_option
from mmx.tasks.labels import NameRow
from mmx.tasks.row_keys import RowKeys, refuse_missing
from mmx.tasks.splits import SplitRows

FORMS = (
    "numbers, dates such as 2024-03-31 or 31/03/2024, "
    "and dates with time such as 2024-03-31 17:05:09.5 or 2024-03-31T17:05Z"
)
_CLOCK = (
    r"(?:(?:T|\s+)(?P<hour>\d{2}):(?P<minute>\d{2})(?::(?P<second>\d{2})"
    r"(?:[.,](?P<part>\d+))?)?\s*(?P<zone>Z|UTC|[+-]\d{2}(?::?\d{2})?)?)?"
)
_YEAR_FIRST = re.compile(r"(?P<year>\d{4})([-/.])(?P<month>\d{1,2})\2(?P<day>\d{1,2})" + _CLOCK)
_YEAR_LAST = re.compile(r"(?P<one>\d{1,2})([-/.])(?P<two>\d{1,2})\2(?P<year>\d{4})" + _CLOCK)
_YEAR_FIRST_DIGITS = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_YEAR_LAST_DIGITS = re.compile(r"(?:0?[1-9]|[12]\d|3[01])(?:0[1-9]|[12]\d|3[01])(?:19|20)\d\d")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?")
_UNITS = {10: "seconds", 13: "milliseconds", 16: "microseconds", 19: "nanoseconds"}
"""Number of digits of a time since 1970, from 2001 on, to its unit."""
_EPOCH = datetime.date(1970, 1, 1)

Instant = int | Fraction | Decimal
ReadCell = Callable[[str], Instant]


@dataclass(frozen=True)
class _Column:
    """The times of a column as they are written: each once, with its first row."""

    name: str
    cells: dict[int, str]
    name_row: NameRow

    def error(self, row: int, text: str, reason: str) -> DataError:
        """Return the refusal of a cell."""
        return DataError(
            f"{self.name_row(row)}: time column '{self.name}' says {text!r}, which {reason}",
            tip=f"write all its times in one form: {FORMS}; or {type_task_option('time', None)}",
        )


def read_times(
    name: str, texts: Sequence[str | None], rows: SplitRows, name_row: NameRow = number_row
) -> tuple[RowKeys, tuple[str, ...]]:
    """Return the times of rows, in order, and a note where the order of day and month was found.

    A column has one form. Day and month of ``31/03/2024`` are told apart by the column itself: a
    number above 12 must be a day.

    Args:
        name: Of the column.
        texts: A cell for each of the N rows, None where it is missing.
        rows: The rows that must have a time.
        name_row: Returns what a row is called in messages.

    Raises:
        DataError: A time is missing, cannot be read, has another form than the first one, or may
            be read in two ways.
    """
    refuse_missing("time", name, texts, rows, name_row)
    first: dict[str, int] = {}  # each way of writing a time, with its first row
    for row in rows.tolist():
        first.setdefault((texts[row] or "").strip(), row)
    column = _Column(name, {row: text for text, row in first.items()}, name_row)
    _refuse_mixed(column)
    read, notes = _choose_reader(column)
    instants = _read_all(column, read)
    rank = {each: place for place, each in enumerate(sorted(set(instants.values())))}
    of_rows = np.full(len(texts), -1, dtype=np.int64)
    for row in rows.tolist():
        of_rows[row] = rank[instants[(texts[row] or "").strip()]]
    written: dict[int, str] = {}
    for text, instant in instants.items():
        written.setdefault(rank[instant], text)
    return RowKeys(
        name, of_rows, tuple(written[place] for place in range(len(rank))), name_row
    ), notes


def _read_all(column: _Column, read: ReadCell) -> dict[str, Instant]:
    """Return each way of writing a time with what it means. Raises DataError."""
    found: dict[str, Instant] = {}
    for row, text in column.cells.items():
        try:
            found[text] = read(text)
        except (ValueError, ArithmeticError) as error:
            raise column.error(row, text, f"is no time: {error}") from error
    return found


def _find_form(text: str) -> str:
    """Return the form of a time in words; empty if it has none."""
    if _NUMBER.fullmatch(text):
        return "a number"
    for pattern, order in ((_YEAR_FIRST, "the year first"), (_YEAR_LAST, "the year last")):
        if found := pattern.fullmatch(text):
            clock = "a date without time"
            if found["hour"]:
                clock = f"a date with time {'and' if found['zone'] else 'but no'} time zone"
            return f"{clock}, {order}"
    return ""


def _refuse_mixed(column: _Column) -> None:
    """Refuse cells that cannot be read, or have another form than the first."""
    first, form = -1, ""
    for row, text in column.cells.items():
        own = _find_form(text)
        if not own:
            raise column.error(row, text, "is not a time that can be read")
        if not form:
            first, form = row, own
        elif own != form:
            raise column.error(
                row,
                text,
                f"is {own}, and {column.name_row(first)} ({column.cells[first]!r}) is {form}: "
                "which is earlier may depend on how they are read",
            )


def _choose_reader(column: _Column) -> tuple[ReadCell, tuple[str, ...]]:
    """Return the reader of a column's one form, and notes."""
    some = next(iter(column.cells.values()), "0")
    if _NUMBER.fullmatch(some):
        _refuse_days_first(column)
        _refuse_mixed_units(column)
        return _read_number, ()
    if _YEAR_FIRST.fullmatch(some):
        return lambda text: _read_date(_match(_YEAR_FIRST, text), "month", "day"), ()
    return _choose_order(column)


def _refuse_days_first(column: _Column) -> None:
    """Refuse numbers such as 31032024, which are dates but do not ascend with time."""
    year_last = all(_YEAR_LAST_DIGITS.fullmatch(text) for text in column.cells.values())
    if year_last and not all(_YEAR_FIRST_DIGITS.fullmatch(text) for text in column.cells.values()):
        row, text = next(iter(column.cells.items()))
        raise column.error(row, text, "looks like a date with the year last, in digits alone")


def _refuse_mixed_units(column: _Column) -> None:
    """Refuse seconds since 1970 beside milliseconds, microseconds or nanoseconds."""
    first: dict[int, int] = {}
    for row, text in column.cells.items():
        if not (text.isdecimal() and len(text) in _UNITS):
            return
        first.setdefault(len(text), row)
    if len(first) > 1:
        (length, row), (other, later) = list(first.items())[:2]
        raise column.error(
            later,
            column.cells[later],
            f"looks like {_UNITS[other]} since 1970, and {column.name_row(row)} "
            f"({column.cells[row]!r}) like {_UNITS[length]}",
        )


def _choose_order(column: _Column) -> tuple[ReadCell, tuple[str, ...]]:
    """Return the reader of dates with the year last, and a note on the order of day and month."""
    # 31/03/2024 or 03/31/2024: a number above 12 is a day.
    day_first, month_first = (
        next(
            (row for row, text in column.cells.items() if int(_match(_YEAR_LAST, text)[part]) > 12),
            None,
        )
        for part in ("one", "two")
    )
    if day_first is not None and month_first is not None:
        row = max(day_first, month_first)
        raise column.error(
            row,
            column.cells[row],
            "has day and month in another order than "
            f"{column.name_row(min(day_first, month_first))}",
        )
    if day_first is None and month_first is None:
        row, text = next(iter(column.cells.items()))
        raise column.error(
            row, text, "may be day/month/year or month/day/year, and no row of it decides"
        )
    month, day = ("two", "one") if day_first is not None else ("one", "two")
    row = day_first if day_first is not None else month_first or 0
    order = "day, month, year" if day == "one" else "month, day, year"
    note = (
        f"time: column '{column.name}' is read as {order}, since {column.name_row(row)} says "
        f"{column.cells[row]!r}"
    )
    return lambda text: _read_date(_match(_YEAR_LAST, text), month, day), (note,)


def _read_number(text: str) -> Decimal:
    with decimal.localcontext(decimal.Context(prec=decimal.MAX_PREC, traps=[])):
        return Decimal(text)


def _match(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    found = pattern.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} has another form")
    return found


def _read_date(found: re.Match[str], month: str, day: str) -> Instant:
    """Return exact seconds since 1970, in UTC where a time zone is given."""
    date = datetime.date(int(found["year"]), int(found[month]), int(found[day]))
    seconds: int | Fraction = (date - _EPOCH).days * 86_400
    if not found["hour"]:
        return seconds
    clock = datetime.time(int(found["hour"]), int(found["minute"]), int(found["second"] or 0))
    seconds += clock.hour * 3600 + clock.minute * 60 + clock.second
    if part := found["part"]:
        seconds += Fraction(int(part), 10 ** len(part))
    zone = found["zone"] or "Z"
    if zone not in ("Z", "UTC"):
        hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
        if hours > 23 or minutes > 59:
            raise ValueError(f"there is no time zone {zone}")
        seconds -= (hours * 3600 + minutes * 60) * (-1 if zone[0] == "-" else 1)
    return seconds
