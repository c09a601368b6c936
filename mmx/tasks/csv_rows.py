"""Rows of CSV and TSV files, as text; ambiguous files are refused with the line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mmx.errors import DataError
from mmx.modalities.number_spelling import is_plain_number
from mmx.table_suffixes import strip_compression
from mmx.tasks.advice import type_task_option
from mmx.tasks.csv_format import DELIMITER_WORDS, CsvFormat
from mmx.tasks.csv_records import (
    CsvRecord,
    Dialect,
    QuotingError,
    Scan,
    is_literal,
    iterate_records,
)
from mmx.tasks.csv_records import scan as scan_records
from mmx.tasks.table_text import (
    HeadlessText,
    TableText,
    WholeText,
    check_utf8,
    read_table_text,
    stream_text,
)

DELIMITERS = (",", "\t", ";", "|")
"""Those that are found."""
TAB_SUFFIXES = (".tsv", ".tab")
LITERAL = "unbalanced quotes are read as part of their cells"


@dataclass(frozen=True)
class CsvTable:
    """The content of a file, or some of its rows.

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
class CsvFile:
    """A file that has been checked, with rows that can be read in order.

    Attributes:
        path: The file.
        text: Its text, which is read again.
        found: What is in it.
        notes: Anything unusual about how it is read.
    """

    path: Path
    text: TableText
    found: Scan
    notes: tuple[str, ...] = ()

    def rows(self) -> Iterator[CsvRecord]:
        """Yield the rows, without the header."""
        records = iterate_records(self.text, self.found.dialect)
        next(records)
        yield from records


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
    file = _check(path, WholeText(text), notes, options, keep=True)
    return CsvTable(path, file.found.names, file.found.rows, file.found.lines, file.notes)


def check_csv(path: Path, options: CsvFormat | None = None) -> CsvFile:
    """Return a file that is checked as :func:`open_csv` does, of which no row is kept in memory.

    Raises:
        DataError: As :func:`open_csv`.
    """
    options = options or CsvFormat()
    text, notes = stream_text(path, options.encoding)
    return _check(path, text, notes, options, keep=False)


def _check(
    path: Path, text: TableText, notes: tuple[str, ...], options: CsvFormat, *, keep: bool
) -> CsvFile:
    """Return a file that one delimiter fits."""
    usual = "\t" if strip_compression(path).suffix.lower() in TAB_SUFFIXES else ","
    first = next(text.lines(), "").removesuffix("\n")
    if hint := re.fullmatch(r"sep=(.)\r?", first):  # written by Excel
        text, usual = HeadlessText(text), hint[1]  # an empty line keeps the line numbers
    header = next((line for line in text.lines() if line.strip()), None)
    if header is None:
        raise DataError(f"{path} is empty", tip="a header and at least one row are expected")
    delimiters = _list_candidates(header, usual, options)
    fitting = _find_fitting(path, text, delimiters, options.quoting, keep=keep)
    if len(fitting) > 1 and usual == ",":  # else the suffix or the first line states it
        _refuse_both(path, fitting)
    found = fitting[0]
    _refuse_second_header(path, found)
    delimiter = found.dialect.delimiter
    if delimiter != usual and options.delimiter is None:
        named = DELIMITER_WORDS.get(delimiter, repr(delimiter))
        notes += (f"{path.name} has {named} between its cells",)
    return CsvFile(path, text, found, notes + found.notes)


def _list_candidates(header: str, usual: str, options: CsvFormat) -> list[str]:
    """Return the delimiters to try, the usual one first: those that the header contains."""
    if options.delimiter_mark is not None:
        return [options.delimiter_mark]
    return [one for one in dict.fromkeys((usual, *DELIMITERS)) if one in header] or [usual]


def _refuse_second_header(path: Path, found: Scan) -> None:
    """Refuse a row that repeats the header, as files have that were joined with theirs.

    Raises:
        DataError: There is such a row; the message names its line.
    """
    names = found.names
    if len(names) < 2 or all(map(is_plain_number, names)):  # words or numbers may repeat
        return
    if found.repeated is not None:
        raise DataError(
            f"cannot read table {path}: line {found.repeated} repeats the header",
            tip="remove that line, or name the files that were joined: "
            + type_task_option("path", ["a.csv", "b.csv"]),
        )


def _find_fitting(
    path: Path, text: TableText, delimiters: list[str], quoting: str | None, *, keep: bool
) -> list[Scan]:
    """Return what the file contains with each delimiter that fits all rows.

    Raises:
        DataError: None of them fits; the message says what is wrong with the first.
    """
    found, problems = [], []
    for delimiter in delimiters:
        try:
            found.append(_scan(text, delimiter, quoting, keep=keep))
        except QuotingError as error:
            problems.append(error)
    if not found:
        backslash = quoting is None and text.holds('\\"')
        tip = type_task_option("csv.quoting", "backslash") if backslash else problems[0].tip
        raise DataError(f"cannot read table {path}: {problems[0]}", tip=tip)
    return found


def _refuse_both(path: Path, found: list[Scan]) -> None:
    """Refuse a file that two delimiters divide into equally long rows.

    Raises:
        DataError: Always.
    """
    marks = [each.dialect.delimiter for each in found]
    readings = [
        f"{DELIMITER_WORDS.get(mark, repr(mark))} ({len(each.names)} columns, such as "
        f"{each.names[0][:30]!r})"
        for mark, each in zip(marks, found, strict=True)
    ]
    raise DataError(
        f"every line of {path} can be divided at {' and at '.join(readings)}",
        tip=type_task_option("csv.delimiter", marks[0]),
    )


def _scan(text: TableText, delimiter: str, quoting: str | None, *, keep: bool) -> Scan:
    """Return what a delimiter finds, with a note if quotes are read in an unusual way.

    Raises:
        QuotingError: The rows are ambiguous.
    """
    plain = Dialect(delimiter, quoting or "double")
    try:
        return scan_records(text, plain, keep=keep)
    except QuotingError as error:
        if quoting is not None or "swallows" in str(error):
            raise
        if text.holds(f'{delimiter} "'):
            try:
                spaced = scan_records(text, replace(plain, spaced=True), keep=keep)
            except QuotingError:
                pass
            else:
                spaced.notes += ("spaces before quotes are left out",)
                return spaced
        # Quotes may be part of the text, such as inches or an apostrophe.
        if not is_literal(text, delimiter):
            raise
        literal = scan_records(text, replace(plain, literal=True), keep=keep)
        literal.notes = (LITERAL,)
        return literal
