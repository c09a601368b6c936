"""Rows of CSV and TSV files, as text; ambiguous files are refused with the line."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from mmx.errors import DataError
from mmx.tasks.table_text import check_utf8, read_table_text

DELIMITERS = (",", "\t", ";", "|")
DELIMITER_WORDS = {",": "a comma", "\t": "a tab", ";": "';'", "|": "'|'"}
SWALLOWED = 4  # complete rows within one cell from which a missing quote is assumed

csv.field_size_limit(2**31 - 1)  # Python's default refuses cells above 131,072 characters


class QuotingError(ValueError):
    """Unbalanced quotes, with the line at which they were detected."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")


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


def open_csv(path: Path) -> CsvTable:
    """Return the table; a delimiter that does not fit the file's suffix is detected and noted.

    Raises:
        DataError: The file is empty, its quotes are unbalanced, or its rows have different
            numbers of cells; the message names the first such line.
    """
    text, notes = read_table_text(path)
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    first, _, rest = text.partition("\n")
    if hint := re.fullmatch(r"sep=(.)\r?", first):  # written by Excel
        text, usual = "\n" + rest, hint[1]  # an empty line keeps the line numbers
    header = text.lstrip("\r\n").splitlines()[:1]
    if not header:
        raise DataError(f"{path} is empty", tip="a header and at least one row are expected")
    # The usual delimiter first, then the others; only those that the header contains.
    candidates = [one for one in dict.fromkeys((usual, *DELIMITERS)) if one in header[0]]
    problems = []
    for delimiter in candidates or [usual]:
        try:
            names, rows, lines, quoting = _parse(text, delimiter)
        except QuotingError as error:
            problems.append(error)
            continue
        if delimiter != usual:
            notes += (
                f"{path.name} has {DELIMITER_WORDS.get(delimiter, delimiter)} between its cells",
            )
        return CsvTable(path, names, rows, lines, notes + quoting)
    raise DataError(
        f"cannot read table {path}: {problems[0]}",
        tip='put a cell with a comma, a quote or a line break in "quotes", and write a quote in '
        'it twice: ""',
    )


def _parse(
    text: str, delimiter: str
) -> tuple[list[str], list[list[str]], list[int], tuple[str, ...]]:
    """Return header, rows, their lines, and a note if quotes are read literally.

    Raises:
        QuotingError: The rows are ambiguous.
    """
    notes: tuple[str, ...] = ()
    try:
        records, lines, ends = _read_records(text, delimiter)
        notes = _check_swallowed(text, delimiter, records, lines, ends)
        _check_widths(records, lines)
    except QuotingError as error:
        # Quotes may be part of the text, such as inches or an apostrophe.
        literal = _split_literally(text, delimiter)
        if literal is None or "swallows" in str(error):
            raise
        records, lines = literal
        notes = ("unbalanced quotes are read as part of their cells",)
    return records[0], records[1:], lines[1:], notes


def _read_records(text: str, delimiter: str) -> tuple[list[list[str]], list[int], list[int]]:
    """Return the cells of all records, and the first and last line of each."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records, lines, ends = [], [], []
    begin = 1
    try:
        for cells in reader:
            if cells:
                records.append(cells)
                lines.append(begin)
                ends.append(reader.line_num)
            begin = reader.line_num + 1  # a record may span several lines
    except csv.Error as error:
        why = "a cell starts with a quote, but does not end with one"
        raise QuotingError(begin, why) from error
    return records, lines, ends


def _check_widths(records: list[list[str]], lines: list[int]) -> None:
    width = len(records[0])
    for cells, line in zip(records, lines, strict=True):
        if len(cells) != width:
            raise QuotingError(line, f"expected {width} cells, as in the header, got {len(cells)}")


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
    physical = io.StringIO(text, newline="").readlines()
    # A line with the delimiters of a complete row.
    whole = [one.count(delimiter) == width - 1 for one in physical]
    # In a file of complete lines, a cell of several is suspicious even if they are few.
    all_whole = all(ok or not one.strip() for ok, one in zip(whole, physical, strict=True))
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
    for line, whole in enumerate(io.StringIO(text, newline=""), start=1):
        cells = whole.rstrip("\r\n").split(delimiter)
        if cells == [""]:
            continue
        if any(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells):
            return None
        records.append(cells)
        lines.append(line)
    return (records, lines) if len({len(cells) for cells in records}) == 1 else None
