"""Columns of Parquet files as Python values, equal to those of CSV and JSON."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from mmx.errors import DataError


def open_parquet(path: Path) -> tuple[pa.parquet.ParquetFile, dict[str, str]]:
    """Return the file, and the type of each column in words."""
    file = pa.parquet.ParquetFile(path)
    schema = file.schema_arrow
    return file, {schema.field(i).name: str(schema.field(i).type) for i in range(len(schema))}


def read_column(file: pa.parquet.ParquetFile, path: Path, name: str) -> list[Any]:
    """Return the cells of one column.

    Raises:
        DataError: Its type has no equivalent in a table of text.
    """
    kind = file.schema_arrow.field(name).type
    column = file.read([name]).column(name)
    if pa.types.is_dictionary(kind):  # pandas' categories
        column, kind = column.cast(kind.value_type), kind.value_type
    try:
        if pa.types.is_timestamp(kind):
            return _format_times(column, kind)
        for is_kind in (pa.types.is_duration, pa.types.is_interval, pa.types.is_map):
            if is_kind(kind):
                raise TypeError("there is no standard way to write it as text")
        cells: list[Any] = column.to_pylist()
        return cells
    except (pa.ArrowException, ArithmeticError, ValueError, TypeError, LookupError) as error:
        raise DataError(
            f"{path}: column '{name}' is of type {kind}, which cannot be read: {error}",
            tip="write it as text or as numbers",
        ) from error


def _format_times(column: pa.ChunkedArray, kind: pa.DataType) -> list[str | None]:
    """Return times as pandas writes them to CSV: only the dates if all are midnights."""
    column, nanos = _split_nanoseconds(column, kind)
    times: list[datetime.datetime | None] = column.to_pylist()
    pairs = list(zip(times, nanos, strict=True))
    if kind.tz is None and all(time is None or _is_midnight(time, rest) for time, rest in pairs):
        return [None if time is None else str(time.date()) for time in times]
    return [None if time is None else _format_time(time, rest) for time, rest in pairs]


def _split_nanoseconds(
    column: pa.ChunkedArray, kind: pa.DataType
) -> tuple[pa.ChunkedArray, list[int]]:
    """Return times in microseconds, the precision of Python's, and the rest, 0 to 999 ns."""
    if kind.unit != "ns":
        return column, [0] * len(column)
    # pyarrow converts nanoseconds to Python's times only if their last three digits are 0.
    counts = column.cast(pa.int64()).to_pylist()
    micros = [None if count is None else count // 1000 for count in counts]
    rests = [0 if count is None else count % 1000 for count in counts]
    return pa.array(micros, pa.int64()).cast(pa.timestamp("us", kind.tz)), rests


def _is_midnight(time: datetime.datetime, nanos: int) -> bool:
    return time.time() == datetime.time() and not nanos


def _format_time(time: datetime.datetime, nanos: int) -> str:
    """Return a time with nine digits after the second where it has nanoseconds."""
    if not nanos:
        return str(time)
    whole = time.isoformat(sep=" ", timespec="microseconds")
    return f"{whole[:26]}{nanos:03d}{whole[26:]}"  # 26: up to the microseconds, before a zone
