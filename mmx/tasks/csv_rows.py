"""Rows of CSV and TSV files, as text; ambiguous files are refused with the line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmx.errors import DataError
from mmx.modalities.number_spelling import is_plain_number
from mmx.tasks.advice import type_task_option
from mmx.tasks.compressed import strip_compression
from mmx.tasks.csv_format import DELIMITER_WORDS, CsvFormat
from mmx.tasks.table_text import check_utf8, read_table_text

DELIMITERS = (",", "\t", ";", "|")
"""Those that are found."""
SWALLOWED = 4  # complete rows within one cell from which a missing quote is assumed
TAB_SUFFIXES = (".tsv", ".tab")
QUOTE_TIP = (
    'put a cell with a comma, a quote or a line break in "quotes", '
    'and write a quote in it twice: ""'
)
LITERAL = "unbalanced quotes are read as part of their cells"

csv.field_size_limit(2**31 - 1)  # Python's default refuses cells above 131,072 characters


class QuotingError(ValueError):
    """Unbalanced quotes, with the line at which they were detected, and what to do."""

    def __init__(self, line: int, why: str, tip: str = QUOTE_TIP) -> None:
        super().__init__(f"line {line}: {why}")
        self.tip = tip


@dataclass(frozen=True)
class CsvTable:
    """The content of a file.

    Attributes:
        path: The file.
        names: Names of the columns.
        rows: Cells of each row.
        lines: Line at which each row starts, from 1.
        notes: Anything unusual about how it was read.
    """

    path: Path
    names: list[str]
    rows: list[list[str]]
    lines: list[int]
    notes: tuple[str, ...] = ()

    def read(self, name: str) -> list[str]:
        """Return the cells of one column."""
        index = self.names.index(name)
        cells = [row[index] for row in self.rows]
        check_utf8(self.path, cells, self.lines)
        return cells


@dataclass(frozen=True)
class _Dialect:
    """How cells are separated and quoted; ``spaced``: a space may stand before a quote."""

    delimiter: str
    quoting: str = "double"
    spaced: bool = False

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


def open_csv(path: Path, options: CsvFormat | None = None) -> CsvTable:
    """Return the table; a delimiter that does not fit the file's suffix is found and noted.

    Args:
        path: The file; it may be compressed.
        options: How it is written, as far as that is known.

    Raises:
        DataError: The file is empty, its quotes are unbalanced, its rows have different
            numbers of cells, or two delimiters fit; the message names the first such line.
    """
    options = options or CsvFormat()
    text, notes = read_table_text(path, options.encoding)
    usual = "\t" if strip_compression(path).suffix.lower() in TAB_SUFFIXES else ","
    first, _, rest = text.partition("\n")
    if hint := re.fullmatch(r"sep=(.)\r?", first):  # written by Excel
        text, usual = "\n" + rest, hint[1]  # an empty line keeps the line numbers
    header = next((line for line in _iterate_lines(text) if line.strip()), None)
    if header is None:
        raise DataError(f"{path} is empty", tip="a header and at least one row are expected")
    delimiters = _list_candidates(header, usual, options)
    found = _parse_by_delimiter(path, text, delimiters, options.quoting)
    if len(found) > 1 and usual == ",":  # else the suffix or the first line states it
        _refuse_both(path, found)
    delimiter, (names, rows, lines, quoting) = found[0]
    _refuse_second_header(path, names, rows, lines)
    if delimiter != usual and options.delimiter is None:
        named = DELIMITER_WORDS.get(delimiter, repr(delimiter))
        notes += (f"{path.name} has {named} between its cells",)
    return CsvTable(path, names, rows, lines, notes + quoting)


def _list_candidates(header: str, usual: str, options: CsvFormat) -> list[str]:
    """Return the delimiters to try, the usual one first: those that the header contains."""
    if options.delimiter_mark is not None:
        return [options.delimiter_mark]
    return [one for one in dict.fromkeys((usual, *DELIMITERS)) if one in header] or [usual]


def _refuse_second_header(
    path: Path, names: list[str], rows: list[list[str]], lines: list[int]
) -> None:
    """Refuse a row that repeats the header, as files have that were joined with theirs.

    Raises:
        DataError: There is such a row; the message names its line.
    """
    if len(names) < 2 or all(map(is_plain_number, names)):  # words or numbers may repeat
        return
    if names in rows:
        raise DataError(
            f"cannot read table {path}: line {lines[rows.index(names)]} repeats the header",
            tip="remove that line, or name the files that were joined: "
            + type_task_option("path", ["a.csv", "b.csv"]),
        )


_Parsed = tuple[list[str], list[list[str]], list[int], tuple[str, ...]]


def _parse_by_delimiter(
    path: Path, text: str, delimiters: list[str], quoting: str | None
) -> list[tuple[str, _Parsed]]:
    """Return the delimiters that fit all rows, each with what the file then contains.

    Raises:
        DataError: None of them fits; the message says what is wrong with the first.
    """
    found, problems = [], []
    for delimiter in delimiters:
        try:
            found.append((delimiter, _parse(text, delimiter, quoting)))
        except QuotingError as error:
            problems.append(error)
    if not found:
        backslash = quoting is None and '\\"' in text
        tip = type_task_option("csv.quoting", "backslash") if backslash else problems[0].tip
        raise DataError(f"cannot read table {path}: {problems[0]}", tip=tip)
    return found


def _refuse_both(path: Path, found: list[tuple[str, _Parsed]]) -> None:
    """Refuse a file that two delimiters divide into equally long rows.

    Raises:
        DataError: Always.
    """
    readings = [
        f"{DELIMITER_WORDS.get(one, repr(one))} ({len(names)} columns, such as {names[0][:30]!r})"
        for one, (names, _, _, _) in found
    ]
    raise DataError(
        f"every line of {path} can be divided at {' and at '.join(readings)}",
        tip=type_task_option("csv.delimiter", found[0][0]),
    )


def _parse(text: str, delimiter: str, quoting: str | None) -> _Parsed:
    """Return header, rows, their lines, and a note if quotes are read in an unusual way.

    Raises:
        QuotingError: The rows are ambiguous.
    """
    plain = _Dialect(delimiter, quoting or "double")
    try:
        return _read(text, plain)
    except QuotingError as error:
        if quoting is not None or "swallows" in str(error):
            raise
        if f'{delimiter} "' in text:
            try:
                names, rows, lines, notes = _read(text, replace(plain, spaced=True))
                return names, rows, lines, (*notes, "spaces before quotes are left out")
            except QuotingError:
                pass
        # Quotes may be part of the text, such as inches or an apostrophe.
        literal = _split_literally(text, delimiter)
        if literal is None:
            raise
        records, lines = literal
        return records[0], records[1:], lines[1:], (LITERAL,)


def _read(text: str, dialect: _Dialect) -> _Parsed:
    """Return header, rows, their lines, and notes.

    Raises:
        QuotingError: Quotes are unbalanced, or rows have different numbers of cells.
    """
    records, lines, ends = _read_records(text, dialect)
    notes = _check_swallowed(text, dialect.delimiter, records, lines, ends)
    _check_widths(records, lines)
    return records[0], records[1:], lines[1:], notes


def _read_records(text: str, dialect: _Dialect) -> tuple[list[list[str]], list[int], list[int]]:
    """Return the cells of all records, and the first and last line of each."""
    reader = csv.reader(_iterate_lines(text), **dialect.describe())
    records: list[list[str]] = []
    lines: list[int] = []
    ends: list[int] = []
    begin = 1
    try:
        for cells in reader:
            if cells and not (_is_blank(cells) and len(records[0] if records else ()) != 1):
                records.append(cells)
                lines.append(begin)
                ends.append(reader.line_num)
            begin = reader.line_num + 1  # a record may span several lines
    except csv.Error as error:
        why = "a cell starts with a quote, but does not end with one"
        raise QuotingError(begin, why) from error
    return records, lines, ends


def _is_blank(cells: list[str]) -> bool:
    """Return whether a record is a line of spaces, which in a table of one column is a row."""
    return len(cells) == 1 and not cells[0].strip()


def _iterate_lines(text: str) -> Iterator[str]:
    """Return an iterator of the lines of a text, with their ends."""
    # StringIO would hold four bytes for each character.
    content = io.BytesIO(text.encode("utf-8", "surrogatepass"))
    return io.TextIOWrapper(content, "utf-8", "surrogatepass", newline="")


def _check_widths(records: list[list[str]], lines: list[int]) -> None:
    width = len(records[0])
    for cells, line in zip(records, lines, strict=True):
        if len(cells) != width:
            why = f"expected {width} cells, as in the header, got {len(cells)}"
            if width == 1:  # a title or a comment, most likely
                tip = f"remove what stands before the header: {records[0][0][:40]!r}"
                raise QuotingError(line, why, tip)
            raise QuotingError(line, why)


def _check_swallowed(
    text: str, delimiter: str, records: list[list[str]], lines: list[int], ends: list[int]
) -> tuple[str, ...]:
    """Refuse a cell of several lines that are complete rows: a quote may be missing.

    Returns:
        A note if some of the lines within cells could be rows.
    """
    width = len(records[0])
    if width == 1 or ends == lines:
        return ()
    whole, all_whole = bytearray(), True
    for one in _iterate_lines(text):
        # A line with the delimiters of a complete row.
        whole.append(one.count(delimiter) == width - 1)
        # In a file of complete lines, a cell of several is suspicious even if they are few.
        all_whole = all_whole and bool(whole[-1] or not one.strip())
    for line, end in zip(lines, ends, strict=True):
        count = end - line + 1
        if count > 1 and all(whole[line - 1 : end]) and (all_whole or count >= SWALLOWED):
            why = f"a cell starts with a quote and swallows the rows up to line {end}"
            raise QuotingError(line, why)
    doubtful = [
        (line, end) for line, end in zip(lines, ends, strict=True) if any(whole[line : end - 1])
    ]
    if not doubtful:
        return ()
    line, end = doubtful[0]
    return (
        f"{len(doubtful)} cells contain lines that could be rows, such as lines {line} to "
        f"{end}: is a quote missing there?",
    )


def _split_literally(text: str, delimiter: str) -> tuple[list[list[str]], list[int]] | None:
    """Return one record for each line, with quotes read literally, or None if that is unlikely.

    It is likely if all lines have as many cells as the header and no cell is quoted.
    """
    records, lines = [], []
    for line, whole in enumerate(_iterate_lines(text), start=1):
        cells = whole.rstrip("\r\n").split(delimiter)
        if cells == [""]:
            continue
        if any(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells):
            return None
        records.append(cells)
        lines.append(line)
    return (records, lines) if len({len(cells) for cells in records}) == 1 else None
