"""The text of a CSV, TSV or JSON file: its encoding, and files that are not text."""

from __future__ import annotations

import codecs
import io
import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmx.errors import DataError
from mmx.tasks.advice import type_task_option
from mmx.tasks.compressed import open_unpacked, read_unpacked

SIGNATURES = {
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"PAR1": "Parquet: its name should end in .parquet",
    b"ARROW1": "Arrow: its name should end in .arrow",
    b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF",
}

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""First bytes of a file to its encoding; UTF-32 before UTF-16, whose mark it begins with."""

AT_ONCE = 2**20
"""Bytes of a file that are looked at at once."""

CODE_PAGES = (
    *("windows-1252", "windows-1250", "windows-1251", "windows-1254"),
    *("shift_jis", "gb18030", "big5", "euc_kr"),
)
"""Encodings that a text that is not UTF-8 may have, as examples."""


class TableText(ABC):
    """A text that is read by lines, as often as it is needed."""

    @abstractmethod
    def lines(self) -> Iterator[str]:
        """Yield its lines, with their ends.

        Raises:
            DataError: It is not in its encoding; the message names the first such line.
        """

    def holds(self, part: str) -> bool:
        """Return whether a part without a line break is in it."""
        return any(part in line for line in self.lines())


@dataclass(frozen=True)
class WholeText(TableText):
    """A text in memory."""

    text: str

    def lines(self) -> Iterator[str]:
        """Yield its lines, with their ends."""
        # StringIO would hold four bytes for each character.
        content = io.BytesIO(self.text.encode("utf-8", "surrogatepass"))
        yield from io.TextIOWrapper(content, "utf-8", "surrogatepass", newline="")

    def holds(self, part: str) -> bool:
        """Return whether a part without a line break is in it."""
        return part in self.text


@dataclass(frozen=True)
class StreamedText(TableText):
    """A text in a file, which is read again each time.

    Attributes:
        path: The file; it may be compressed.
        encoding: Its encoding.
        strict: Whether bytes of another encoding are an error; else they are kept as surrogates.
    """

    path: Path
    encoding: str
    strict: bool

    def lines(self) -> Iterator[str]:
        """Yield its lines, with their ends; see :class:`TableText`."""
        errors = "strict" if self.strict else "surrogateescape"
        with open_unpacked(self.path) as (stream, _):
            lines = io.TextIOWrapper(stream, self.encoding, errors, newline="")
            try:
                first = next(lines, None)
                if first is not None:
                    yield first.removeprefix("\ufeff") if self.strict else first
                yield from lines
            except UnicodeError:
                read_table_text(self.path, self.encoding)  # which names the line
                raise


@dataclass(frozen=True)
class HeadlessText(TableText):
    """A text with an empty line in place of its first."""

    whole: TableText

    def lines(self) -> Iterator[str]:
        """Yield its lines, with their ends; see :class:`TableText`."""
        lines = self.whole.lines()
        next(lines, None)
        yield "\n"
        yield from lines


def stream_text(path: Path, encoding: str | None = None) -> tuple[TableText, tuple[str, ...]]:
    """Return what :func:`read_table_text` does, as a text that is read again from its file.

    A text in UTF-16 or UTF-32, one in Latin-1, and one in UTF-8 for which a code page is given
    are read whole.

    Raises:
        DataError: As :func:`read_table_text`.
    """
    with open_unpacked(path) as (stream, notes):
        head = stream.read(64)
        marked = head.startswith(codecs.BOM_UTF8) and encoding is None
        odd = head.startswith(tuple(SIGNATURES)) or b"\0" in head
        odd = odd or (head.startswith(tuple(BYTE_ORDER_MARKS)) and not marked)
        while encoding is None and not odd and (block := stream.read(AT_ONCE)):
            odd = b"\0" in block
    latin = encoding is not None and codecs.lookup(encoding).name == "iso8859-1"
    is_page = encoding is not None and _is_code_page(encoding)
    if odd or latin or (is_page and _looks_utf8(path)):
        text, notes = read_table_text(path, encoding)
        return WholeText(text), notes
    found = "utf-8-sig" if marked else "utf-8"
    return StreamedText(path, encoding or found, strict=encoding is not None), notes


def _looks_utf8(path: Path) -> bool:
    """Return whether a file is UTF-8 and not plain ASCII, without keeping it in memory."""
    decoder, plain = codecs.getincrementaldecoder("utf-8")(), True
    with open_unpacked(path) as (stream, _):
        try:
            while block := stream.read(AT_ONCE):
                plain = decoder.decode(block).isascii() and plain
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return not plain


def read_table_text(path: Path, encoding: str | None = None) -> tuple[str, tuple[str, ...]]:
    """Return the text of a file, and notes on how it was read.

    Bytes that are not UTF-8 are kept as lone surrogates, so that they matter only in cells that
    are used; see :func:`check_utf8`.

    Args:
        path: The file; it may be compressed.
        encoding: Its encoding; None: UTF-8, or UTF-16 or UTF-32 where its bytes show it.

    Raises:
        DataError: The file is not text, or is not in the given encoding.
    """
    data, notes = read_unpacked(path)
    for signature, what in SIGNATURES.items():
        if data.startswith(signature):
            tip = "unpack it first, or save it as CSV" if "name" not in what else None
            raise DataError(f"{path} is not text but {what}", tip=tip)
    if encoding is not None:
        refuse_utf8(path, data, encoding)
        return _decode(path, data, encoding), notes + _note_controls(path, data, encoding)
    for mark, found in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            if found == "utf-8-sig":  # Excel writes this mark
                return data.decode(found, "surrogateescape"), notes
            note = f"{path.name} is read as {found.upper()}"
            return _decode(path, data, found), (*notes, note)
    if b"\0" in data:
        if order := _find_utf16(data):
            note = f"{path.name} is read as {order.upper()}, which its NUL bytes show"
            return _decode(path, data, order), (*notes, note)
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise DataError(
            f"{path}, line {line}, contains a NUL byte, so it is not UTF-8 text",
            tip=f"if it is UTF-16: {type_task_option('csv.encoding', 'utf-16-le')}; else "
            f"tr -d '\\000' <{shlex.quote(str(path))} >clean{path.suffix}",
        )
    return data.decode("utf-8", "surrogateescape"), notes


def check_utf8(path: Path, cells: list[str], lines: list[int]) -> None:
    """Refuse cells with bytes that are not UTF-8.

    Such bytes have a reading in many encodings, so that none is assumed.

    Args:
        path: The file.
        cells: The cells of one column.
        lines: Line at which each cell's row starts, from 1.

    Raises:
        DataError: A cell has such bytes; the message names its line.
    """
    try:
        "".join(cells).encode()
        return
    except UnicodeEncodeError:
        clean = [cell.encode("utf-8", "ignore").decode() for cell in cells]
        bad = next(i for i, cell in enumerate(cells) if cell != clean[i])
    every = "\n".join(cell for cell, good in zip(cells, clean, strict=True) if cell != good)
    raw = cells[bad].encode("utf-8", "surrogateescape")  # the original bytes
    whole = every.encode("utf-8", "surrogateescape")
    readings = _list_readings(raw[:60], whole)
    shown = ", ".join(f"{name} reads {text!r}" for name, text in readings.items())
    raise DataError(
        f"{path}, line {lines[bad]}, is not in UTF-8: {raw[:60]!r}"
        + (f"; {shown}" if shown else ""),
        tip=type_task_option("csv.encoding", _choose_reading(list(readings), whole)),
    )


def _is_code_page(encoding: str) -> bool:
    """Return whether an encoding reads the two bytes of a letter in UTF-8 as two letters."""
    return len(b"\xc3\xa4".decode(encoding, "replace")) == 2


def refuse_utf8(path: Path, data: bytes, encoding: str) -> None:
    """Refuse to read UTF-8 in a code page, which would read each letter beyond ASCII as several.

    Bytes of such letters in a code page are hardly ever UTF-8 all through.

    Args:
        path: The file.
        data: All of its bytes.
        encoding: The encoding that was asked for.

    Raises:
        DataError: All bytes are UTF-8, some of them beyond ASCII, and the encoding is a code page
            of one byte a letter; the message names the first such line.
    """
    if data.isascii() or not _is_code_page(encoding):
        return
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return
    number, line = next(
        (at, line) for at, line in enumerate(text.splitlines(), 1) if not line.isascii()
    )
    word = next(word for word in re.split(r"[\s,;|]+", line) if not word.isascii())[:30]
    wrong = word.encode().decode(encoding, "replace")
    raise DataError(
        f"{path} is in UTF-8, not in {encoding}, which would read {wrong!r} for {word!r} "
        f"in line {number}",
        tip=type_task_option("csv.encoding", "utf-8"),
    )


def _choose_reading(names: list[str], whole: bytes) -> str:
    """Return the encoding to type, or a placeholder where only a reader can tell.

    The first names are of Western pages, in which most letters of a text are plain.
    """
    if not names:
        return "latin-1"
    letters = [each for each in whole.decode(names[0]) if each.isalpha()]
    plain = sum(each.isascii() for each in letters)
    few = 2 * plain >= len(letters)
    return names[0] if few or len(names) == 1 else "<the one that reads right>"


def _list_readings(raw: bytes, every: bytes) -> dict[str, str]:
    """Return how encodings read some bytes, of those that can read all of the column."""
    readings: dict[str, str] = {}
    for name in CODE_PAGES:
        try:
            every.decode(name)
            text = raw.decode(name, "ignore")
        except UnicodeDecodeError:
            continue
        if text.isprintable() and text not in readings.values():
            readings[name] = text
    return readings


def _decode(path: Path, data: bytes, encoding: str) -> str:
    """Return the text of bytes in an encoding.

    Raises:
        DataError: They are not in that encoding; the message names the first such line.
    """
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        at = getattr(error, "start", 0)
        line = data[:at].decode(encoding, "replace").count("\n") + 1
        raise DataError(
            f"{path}, line {line}, is not in {encoding}: {data[at : at + 20]!r}",
            tip=type_task_option("csv.encoding", None) + "   (UTF-8 and UTF-16 are found)",
        ) from error
    return text.removeprefix("\ufeff")


def _find_utf16(data: bytes) -> str | None:
    """Return UTF-16's byte order if text without a mark has one, which its line breaks show."""
    found = []
    for name in ("utf-16-le", "utf-16-be"):
        try:
            text = data.decode(name)
        except UnicodeDecodeError:
            continue
        # In the other order a line break would be U+0A00 or U+0D00, which stand for nothing.
        if "\0" not in text and ("\n" in text or "\r" in text):
            found.append(name)
    return found[0] if len(found) == 1 else None


def _note_controls(path: Path, data: bytes, encoding: str) -> tuple[str, ...]:
    """Return a note on bytes that Latin-1 reads as control characters."""
    if codecs.lookup(encoding).name != "iso8859-1":
        return ()
    count = sum(data.count(bytes([byte])) for byte in range(0x80, 0xA0))
    if not count:
        return ()
    return (
        f"{path.name}: Latin-1 reads {count} bytes as control characters, which in Windows-1252 "
        "are quotes, dashes and the euro sign: " + type_task_option("csv.encoding", "windows-1252"),
    )
