"""Suffixes of the files that tables are read from, and of what compresses them."""

from __future__ import annotations

from pathlib import PurePath
from typing import TypeVar

PARQUET, ARROW = (".parquet", ".pq"), (".arrow", ".feather", ".ipc")
TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
"""Suffixes of files of rows with a delimiter between their cells."""
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
BINARY_SUFFIXES = (*PARQUET, *ARROW)
TABLE_SUFFIXES = (*TEXT_SUFFIXES, *JSON_SUFFIXES, *BINARY_SUFFIXES, ".tar")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
"""Suffixes that may follow that of a table."""
_Path = TypeVar("_Path", bound=PurePath)


def strip_compression(path: _Path) -> _Path:
    """Return a file's path without the suffix of its compression: ``a.csv.gz`` is ``a.csv``."""
    return path.with_suffix("") if path.suffix.lower() in COMPRESSED else path


def find_suffix(path: PurePath) -> str:
    """Return the suffix of a file in lower case, before that of its compression."""
    return strip_compression(path).suffix.lower()
