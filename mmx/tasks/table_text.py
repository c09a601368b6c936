"""The text of a CSV, TSV or JSON file: its encoding, and files that are not text."""

from __future__ import annotations

import codecs
from pathlib import Path

from mmx.errors import DataError

SIGNATURES = {
    b"\x1f\x8b": "compressed by gzip",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"PAR1": "Parquet: its name should end in .parquet",
    b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF",
}

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_table_text(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return the text of a file, and notes on how it was read.

    Bytes that are not UTF-8 are kept as lone surrogates, so that they matter only in cells that
    are used; see :func:`check_utf8`.

    Raises:
        DataError: The file is not text.
    """
    data = path.read_bytes()
    for signature, what in SIGNATURES.items():
        if data.startswith(signature):
            tip = "unpack it first, or save it as CSV" if "Parquet" not in what else None
            raise DataError(f"{path} is not text but {what}", tip=tip)
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding, "replace"), (f"{path.name} is read as {encoding}",)
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise DataError(
            f"{path}, line {line}, contains a NUL byte, so it is not UTF-8 text",
            tip=f"if it is UTF-16: {_convert(path, 'UTF-16')}",
        )
    # utf-8-sig drops the byte order mark that Excel writes.
    return data.decode("utf-8-sig", "surrogateescape"), ()


def check_utf8(path: Path, cells: list[str], lines: list[int]) -> None:
    """Refuse cells with bytes that are not UTF-8.

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
    raw = cells[bad].encode("utf-8", "surrogateescape")  # the original bytes
    raise DataError(
        f"{path}, line {lines[bad]}, is not in UTF-8: {raw[:60]!r}",
        tip=f"if it is Western European: {_convert(path, 'WINDOWS-1252')}",
    )


def _convert(path: Path, encoding: str) -> str:
    return f"iconv -f {encoding} -t UTF-8 {path} > {path.with_stem(path.stem + '-utf8')}"
