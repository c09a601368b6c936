"""Columns of Parquet files as Python values that read like those of CSV and JSON."""

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
        DataError: Its type is none that a table of text could hold.
    """
    kind = file.schema_arrow.field(name).type
    column = file.read([name]).column(name)
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    try:
        if pa.types.is_timestamp(kind):
            return _stamps(column, kind)
        for is_kind in (pa.types.is_duration, pa.types.is_interval, pa.types.is_map):
            if is_kind(kind):
                raise TypeError("it has no one spelling as text")
        cells: list[Any] = column.to_pylist()
        return cells
    except (pa.ArrowException, ArithmeticError, ValueError, TypeError, LookupError) as error:
        raise DataError(
            f"{path}: column '{name}' is of type {kind}, which cannot be read: {error}",
            tip="write it as text or as numbers",
        ) from error


def _stamps(column: pa.ChunkedArray, kind: pa.DataType) -> list[str | None]:
    """Return points in time as pandas writes them to CSV: only the date where all are midnights.

    Python's own have microseconds; what is left of nanoseconds is appended.
    """
    nanos: list[int | None] = [None] * len(column)
    if kind.unit == "ns":
        counts = column.cast(pa.int64()).to_pylist()
        nanos = [None if count is None else count % 1000 for count in counts]
        micros = [None if count is None else count // 1000 for count in counts]
        column = pa.array(micros, pa.int64()).cast(pa.timestamp("us", kind.tz))
    times: list[datetime.datetime | None] = column.to_pylist()
    midnight = datetime.time()
    if kind.tz is None and all(
        time is None or (time.time() == midnight and not rest)
        for time, rest in zip(times, nanos, strict=True)
    ):
        return [None if time is None else str(time.date()) for time in times]
    return [
        None if time is None else _spelled(time, rest or 0)
        for time, rest in zip(times, nanos, strict=True)
    ]


def _spelled(time: datetime.datetime, nanos: int) -> str:
    if not nanos:
        return str(time)
    whole = time.isoformat(sep=" ", timespec="microseconds")
    return f"{whole[:26]}{nanos:03d}{whole[26:]}"
