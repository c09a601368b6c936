"""Records of CSV and TSV text, read line by line, so that a file of any size may be checked."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mmx.tasks.table_text import TableText

SWALLOWED = 4  # complete rows within one cell from which a missing quote is assumed
QUOTE_TIP = (
    'put a cell with a comma, a quote or a line break in "quotes", '
    'and write a quote in it twice: ""'
)

csv.field_size_limit(2**31 - 1)  # Python's default refuses cells above 131,072 characters


class QuotingError(ValueError):
    """Unbalanced quotes, with the line at which they were detected, and what to do."""

    def __init__(self, line: int, why: str, tip: str = QUOTE_TIP) -> None:
        super().__init__(f"line {line}: {why}")
        self.tip = tip


class CsvRecord(NamedTuple):  # there are millions of them, and a dataclass takes thrice as long
    """One record.

    Attributes:
        cells: Its cells.
        line: Line at which it starts, from 1.
        end: Line at which it ends.
    """

    cells: list[str]
    line: int
    end: int


@dataclass(frozen=True)
class Dialect:
    """How cells are separated and quoted; ``spaced``: a space may stand before a quote.

    ``literal``: quotes are part of their cells, and each line is a record.
    """

    delimiter: str
    quoting: str = "double"
    spaced: bool = False
    literal: bool = False

    def describe(self) -> dict[str, Any]:
        """Return the arguments of ``csv.reader``."""
        return {
            "delimiter": self.delimiter,
            "quotechar": "'" if self.quoting == "single" else '"',
            "escapechar": "\\" if self.quoting == "backslash" else None,
            "doublequote": self.quoting != "backslash",
            "quoting": csv.QUOTE_NONE if self.quoting == "none" else csv.QUOTE_MINIMAL,
            "skipinitialspace": self.spaced,
            "strict": True,
        }


@dataclass
class Scan:
    """What was found in a file that a dialect fits.

    Attributes:
        dialect: The dialect.
        names: The cells of the header.
        rows: Cells of each row, and ...
        lines: the line at which each starts, where they are kept.
        count: Number of rows.
        regular: Whether every row is one line, from the second on, so that lines follow from rows.
        repeated: Line of the first row that repeats the header; None without one.
        notes: Anything unusual.
    """

    dialect: Dialect
    names: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    count: int = 0
    regular: bool = True
    repeated: int | None = None
    notes: tuple[str, ...] = ()

    def add(self, record: CsvRecord, *, keep: bool) -> None:
        """Take in one record, the header first."""
        if not self.names:
            self.names = record.cells
            return
        self.count += 1
        self.regular = self.regular and record.line == self.count + 1
        if self.repeated is None and record.cells == self.names:
            self.repeated = record.line
        if keep:
            self.rows.append(record.cells)
            self.lines.append(record.line)


def iterate_records(text: TableText, dialect: Dialect) -> Iterator[CsvRecord]:
    """Yield the header and all rows of a text.

    Raises:
        QuotingError: A quote does not end.
    """
    if dialect.literal:
        for line, whole in enumerate(text.lines(), start=1):
            cells = whole.rstrip("\r\n").split(dialect.delimiter)
            if cells != [""]:
                yield CsvRecord(cells, line, line)
        return
    reader = csv.reader(text.lines(), **dialect.describe())
    begin, width = 1, 0
    try:
        for cells in reader:
            end = reader.line_num
            if cells and (len(cells) > 1 or width == 1 or not _is_blank(cells)):
                width = width or len(cells)
                yield CsvRecord(cells, begin, end)
            begin = end + 1  # a record may span several lines
    except csv.Error as error:
        why = "a cell starts with a quote, but does not end with one"
        raise QuotingError(begin, why) from error


def _is_blank(cells: list[str]) -> bool:
    """Return whether a record is a line of spaces, which in a table of one column is a row."""
    return len(cells) == 1 and not cells[0].strip()


def scan(text: TableText, dialect: Dialect, *, keep: bool) -> Scan:
    """Return what a dialect finds in a text.

    Args:
        text: The text.
        dialect: How it is read.
        keep: Whether to keep the rows.

    Raises:
        QuotingError: Quotes are unbalanced, or rows have different numbers of cells.
    """
    found, uneven = Scan(dialect), None
    several: list[tuple[int, int]] = []
    for record in iterate_records(text, dialect):
        found.add(record, keep=keep)
        if record.end > record.line:
            several.append((record.line, record.end))
        if uneven is None and len(record.cells) != len(found.names):
            uneven = record
    found.notes = _check_swallowed(text, dialect.delimiter, len(found.names), several)
    if uneven is not None:
        raise _make_width_error(found.names, uneven)
    return found


def _make_width_error(names: list[str], record: CsvRecord) -> QuotingError:
    why = f"expected {len(names)} cells, as in the header, got {len(record.cells)}"
    if len(names) == 1:  # a title or a comment, most likely
        tip = f"remove what stands before the header: {names[0][:40]!r}"
        return QuotingError(record.line, why, tip)
    return QuotingError(record.line, why)


def _check_swallowed(
    text: TableText, delimiter: str, width: int, several: list[tuple[int, int]]
) -> tuple[str, ...]:
    """Refuse a cell of several lines that are complete rows: a quote may be missing.

    Args:
        text: The text.
        delimiter: What separates its cells.
        width: Number of columns.
        several: First and last line of each record of several lines.

    Returns:
        A note if some of the lines within cells could be rows.
    """
    if width == 1 or not several:
        return ()
    whole, all_whole = bytearray(), True
    for one in text.lines():
        # A line with the delimiters of a complete row.
        whole.append(one.count(delimiter) == width - 1)
        # In a file of complete lines, a cell of several is suspicious even if they are few.
        all_whole = all_whole and bool(whole[-1] or not one.strip())
    for line, end in several:
        if all(whole[line - 1 : end]) and (all_whole or end - line + 1 >= SWALLOWED):
            why = f"a cell starts with a quote and swallows the rows up to line {end}"
            raise QuotingError(line, why)
    doubtful = [(line, end) for line, end in several if any(whole[line : end - 1])]
    if not doubtful:
        return ()
    line, end = doubtful[0]
    return (
        f"{len(doubtful)} cells contain lines that could be rows, such as lines {line} to "
        f"{end}: is a quote missing there?",
    )


def is_literal(text: TableText, delimiter: str) -> bool:
    """Return whether quotes are likely to be part of their cells.

    They are if all lines have as many cells as the header and no cell is quoted.
    """
    width = None
    for record in iterate_records(text, Dialect(delimiter, literal=True)):
        if any(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in record.cells):
            return False
        width = width or len(record.cells)
        if len(record.cells) != width:
            return False
    return width is not None
