"""Numbers as people write them: decimal comma, thousands, currency, percent, and dates."""

from __future__ import annotations

import datetime
import math
import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

Reading = Literal[".", ",", "date"]
CODES = frozenset(
    [
        *("AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "INR"),
        *("JPY", "KRW", "MXN", "NOK", "NZD", "PLN", "RUB", "SEK", "SGD", "TRY", "USD", "ZAR"),
        *("kr", "zł", "Kč", "Ft", "R$", "US$"),
    ]
)
"""Units of money that are words."""
SPACES = " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}'’_"
"""What separates thousands, whatever the decimal mark."""

_BODY = re.compile(
    r"(?P<sign>[+-]?)(?P<body>[0-9][0-9.,'’_\s]*|[.,][0-9]+)(?P<power>[eE][+-]?[0-9]+)?"
)
_UNIT = re.compile(r"[^0-9.,+\-()_\s]+")
_THOUSANDS_POINT = re.compile(r"[1-9][0-9]{0,2}(\.[0-9]{3})+")
_SHORT = re.compile(r"[0-9]{1,3}")
_YMD = r"(?P<year>[0-9]{4})(?P<mark>[-/.])(?P<month>[0-9]{1,2})(?P=mark)(?P<day>[0-9]{1,2})"
_CLOCK = (
    r"(?:[T ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}(?:\.[0-9]+)?))?"
    r"\s?(?P<zone>Z|UTC|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_DATES = {
    "ymd": re.compile(_YMD + _CLOCK),
    "dmy": re.compile(
        r"(?P<day>[0-9]{1,2})(?P<mark>[-/.])(?P<month>[0-9]{1,2})(?P=mark)(?P<year>[0-9]{4})"
        + _CLOCK
    ),
    "mdy": re.compile(
        r"(?P<month>[0-9]{1,2})(?P<mark>[-/])(?P<day>[0-9]{1,2})(?P=mark)(?P<year>[0-9]{4})"
        + _CLOCK
    ),
}
"""Order of day, month and year to the form; with points, the day is first everywhere."""
_COMPACT = re.compile(r"((?:19|20)[0-9]{2})([0-9]{2})([0-9]{2})")
_EPOCH = datetime.datetime(1970, 1, 1)


class NumberText(str):
    """A number of a file as text, in the spelling that all formats share.

    Attributes:
        written: The text in the file; None where the file holds a number, which has one reading.
    """

    __slots__ = ()  # tables have millions of them
    written: str | None = None


class RespelledNumber(NumberText):
    """A number that is a text in the file, such as ``1.500``, in the common spelling ``1.5``."""

    __slots__ = ("written",)

    def __new__(cls, text: str, written: str = "") -> RespelledNumber:
        """Return the text with what it comes from."""
        made = super().__new__(cls, text)
        made.written = written
        return made


def find_written(cell: float | str) -> str | None:
    """Return a cell as its file writes it; None for what is a number there."""
    if isinstance(cell, NumberText):
        return cell.written
    return cell if isinstance(cell, str) else None


@dataclass(frozen=True)
class Spelling:
    """How the numbers of a column are written.

    Attributes:
        reading: The decimal mark; or ``date``.
        unit: The currency or ``%``, the same in all cells; of dates the order, such as ``dmy``.
    """

    reading: Reading
    unit: str = ""

    def parse(self, text: str) -> float | None:
        """Return the number; of a date, days since 1970. None if it is written otherwise.

        What is a number in the file is none with a unit, and no date.
        """
        written = find_written(text)
        if written is None:
            is_other = self.unit != "" or self.reading == "date" or not is_plain_number(text)
            return None if is_other else float(text)
        if self.reading == "date":
            return _parse_date(written.strip(), self.unit)
        unit, bare = split_unit(written)
        return _parse_number(bare, self.reading) if unit == self.unit else None

    def describe(self, example: str) -> str:
        """Return in words how numbers are read, with an example."""
        value = self.parse(example)
        shown = "" if value is None else f": {example!r} is {value:.12g}"
        if self.reading == "date":
            return f"dates, in days since 1970-01-01{shown}"
        mark = "comma" if self.reading == "," else "point"
        unit = f" and the unit {self.unit}" if self.unit else ""
        return f"numbers with a decimal {mark}{unit}{shown}"


class AmbiguousNumberError(ValueError):
    """Numbers that have two readings.

    Attributes:
        example: A cell.
        values: What it is with a decimal point, and with a decimal comma.
    """

    def __init__(self, example: str, values: tuple[float, float]) -> None:
        super().__init__(example)
        self.example, self.values = example, values


class MixedUnitsError(ValueError):
    """Numbers of which some have another unit than the others."""


def is_plain_number(text: str) -> bool:
    """Return whether a text is a finite number without anything between its digits."""
    number = read_float(text)
    return number is not None and math.isfinite(number)


def read_float(cell: float | str) -> float | None:
    """Return a cell as a number, which may be infinite or NaN; None if it is none.

    Python reads ``1_1`` as 11, which makes it the code ``11``; here it is no number.
    """
    if isinstance(cell, str) and "_" in cell:
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def find_spelling(cells: Collection[str], decimal: str | None = None) -> Spelling | None:
    """Return how all of the cells are written; None where they are not all numbers or dates.

    Args:
        cells: Distinct cells, of which some are no plain numbers; or any if ``decimal`` is a comma.
        decimal: The decimal mark, if it is known.

    Raises:
        AmbiguousNumberError: With either decimal mark all cells are numbers, but others.
        MixedUnitsError: All cells are numbers, of different units.
    """
    if order := _find_order(cells):
        # Which is the day? Such dates stay words.
        return None if order == "dmy" and _could_be_mdy(cells) else Spelling("date", order)
    parts = [split_unit(cell) for cell in cells]
    readings = _parse_by_mark([bare for _, bare in parts], decimal)
    units = {unit for unit, _ in parts}
    if not readings or not all(_is_unit(unit) for unit in units):
        return None
    if len(units) > 1:
        raise MixedUnitsError(", ".join(repr(cell) for cell in _pick_by_unit(cells)))
    if len(readings) == 2:
        _refuse_ambiguous(cells, readings["."], readings[","])
    return Spelling(next(iter(readings)), units.pop())


def _parse_by_mark(texts: Sequence[str], decimal: str | None) -> dict[Reading, list[float]]:
    """Return the numbers by each decimal mark with which all of the texts are numbers."""
    marks: tuple[Reading, ...] = (".", ",")
    if decimal is not None:
        marks = (",",) if decimal == "," else (".",)
    readings: dict[Reading, list[float]] = {}
    for mark in marks:
        found = [_parse_number(text, mark) for text in texts]
        numbers = [number for number in found if number is not None]
        if len(numbers) == len(texts):
            readings[mark] = numbers
    return readings


def _refuse_ambiguous(cells: Collection[str], point: list[float], comma: list[float]) -> None:
    """Refuse cells that are different numbers with a decimal point and with a decimal comma.

    Raises:
        AmbiguousNumberError: A cell is; the error names the first.
    """
    for cell, one, other in zip(cells, point, comma, strict=True):
        if one != other:
            raise AmbiguousNumberError(cell, (one, other))


def _find_order(cells: Collection[str]) -> str | None:
    """Return the order of day, month and year in which all cells are dates, or None."""
    for order in ("ymd", "dmy", "mdy"):
        if all(_parse_date(cell.strip(), order) is not None for cell in cells):
            return order
    return None


def _could_be_mdy(cells: Collection[str]) -> bool:
    """Return whether dates with the day first are other dates with the month first."""
    pairs = [(_parse_date(cell.strip(), "dmy"), _parse_date(cell.strip(), "mdy")) for cell in cells]
    return all(other is not None for _, other in pairs) and any(a != b for a, b in pairs)


def find_doubtful_date(cells: Collection[str]) -> str | None:
    """Return a date that has two readings, if all cells are dates and none decides."""
    doubtful = _find_order(cells) == "dmy" and _could_be_mdy(cells)
    return next(iter(sorted(cells))) if doubtful else None


def find_compact_date(cells: Collection[str]) -> str | None:
    """Return a date written as eight digits, such as 20240331, if all of several cells are."""
    if len(cells) < 2 or not all(_is_compact_date(cell.strip()) for cell in cells):
        return None
    return min(cells)


def _is_compact_date(text: str) -> bool:
    found = _COMPACT.fullmatch(text)
    return found is not None and _parse_date("-".join(found.groups()), "ymd") is not None


def could_be_thousands(cells: Collection[str]) -> str | None:
    """Return a cell that may have a point between thousands, if all of the cells allow it."""
    found = [cell for cell in cells if _THOUSANDS_POINT.fullmatch(cell.strip().lstrip("+-"))]
    rest = len(cells) - len(found)
    short = sum(_SHORT.fullmatch(cell.strip().lstrip("+-")) is not None for cell in cells)
    return found[0] if found and rest == short else None


def split_unit(text: str) -> tuple[str, str]:
    """Return the unit before or after a number, and the number; ``(5)`` is -5."""
    text = text.strip().replace("\N{MINUS SIGN}", "-")
    if text.startswith("(") and text.endswith(")"):
        text = "-" + text[1:-1].strip()
    sign = text[:1] if text.startswith(("+", "-")) else ""
    bare = text[len(sign) :].strip()
    if bare and not (bare[0] in "0123456789.," and bare[-1].isdigit()):
        for found in (_UNIT.match(bare), re.search(_UNIT.pattern + r"\Z", bare)):
            if found is not None and _is_unit(found[0]):
                rest = (bare[: found.start()] + bare[found.end() :]).strip()
                return found[0], (sign + rest if sign else rest)
    return "", text


def _is_unit(unit: str) -> bool:
    if unit in ("", "%", "‰") or unit in CODES:
        return True
    return len(unit) == 1 and unicodedata.category(unit) == "Sc"


def _pick_by_unit(cells: Collection[str]) -> list[str]:
    """Return one cell of each unit."""
    return list({split_unit(cell)[0]: cell for cell in cells}.values())


def _parse_number(text: str, mark: str) -> float | None:
    """Return a number with a decimal mark, and thousands in groups of three."""
    found = _BODY.fullmatch(text)
    if found is None:
        return None
    whole, point, fraction = found["body"].strip().partition(mark)
    if point and not (fraction.isdigit() and fraction.isascii()):
        return None
    digits = _join_thousands(whole, "." if mark == "," else ",")
    if digits is None or not (digits + fraction).isdecimal():
        return None
    number = float(f"{found['sign']}{digits or '0'}.{fraction or '0'}{found['power'] or ''}")
    return number if math.isfinite(number) else None


def _join_thousands(whole: str, separator: str) -> str | None:
    """Return a whole number without what separates its thousands; None if they are irregular.

    Args:
        whole: The number, as it is written before the decimal mark.
        separator: What may separate thousands besides spaces and apostrophes.
    """
    groups = re.split(rf"[{re.escape(separator)}{SPACES}]", whole)
    if len(groups) > 1:
        separators = set(re.sub("[0-9]", "", whole))
        if len(separators) > 1 or not _are_thousands(groups):
            return None
    return "".join(groups)


def _are_thousands(groups: list[str]) -> bool:
    """Return whether groups of digits have the lengths of 1,234,567 or of 12,34,567."""
    first, last = groups[0], groups[-1]
    if not all(group.isdecimal() for group in groups):
        return False
    if first.startswith("0") or len(first) > 3:
        return False
    in_threes = all(len(group) == 3 for group in groups[1:])
    in_twos = all(len(group) == 2 for group in groups[1:-1])  # lakh, crore
    return in_threes or (in_twos and len(last) == 3)


def _parse_date(text: str, order: str) -> float | None:
    """Return days since 1970, in UTC where the text has a time zone."""
    found = _DATES[order].fullmatch(text)
    if found is None:
        return None
    try:
        date = datetime.datetime(int(found["year"]), int(found["month"]), int(found["day"]))
    except ValueError:
        return None
    hour, minute = int(found["hour"] or 0), int(found["minute"] or 0)
    second = float(found["second"] or 0)
    if hour > 24 or minute > 59 or second >= 61:
        return None
    seconds = hour * 3600 + minute * 60 + second - _offset(found["zone"] or "")
    return (date - _EPOCH).days + seconds / 86400


def _offset(zone: str) -> int:
    """Return the seconds by which a time zone is ahead of UTC."""
    if zone in ("", "Z", "UTC"):
        return 0
    sign = -1 if zone[0] == "-" else 1
    return sign * (int(zone[1:3]) * 3600 + int(zone[-2:]) * 60)
