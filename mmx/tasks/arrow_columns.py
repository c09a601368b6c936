"""Columns of Parquet and Arrow files as Python values, equal to those of CSV and JSON."""

from __future__ import annotations

import datetime
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from mmx.errors import DataError
from mmx.table_suffixes import PARQUET

TEXT_BYTES = frozenset((*b"\t\n\r", *range(0x20, 0x7F), *range(0x80, 0x100)))
HUGGING_FACE = b"huggingface"
"""Key of the metadata in which ``datasets`` describes its columns."""


@dataclass(frozen=True)
class ArrowFile:
    """An open file.

    Attributes:
        path: The file.
        schema: Its columns.
        count: Number of its rows.
        read: Returns one top-level column.
        classes: Column to the names of its classes, where ``datasets`` has stored them.
    """

    path: Path
    schema: pa.Schema
    count: int
    read: Callable[[str], pa.ChunkedArray]
    classes: dict[str, tuple[str, ...]]

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self.schema.names)

    @property
    def types(self) -> dict[str, str]:
        """Type of each column in words."""
        return {field.name: str(field.type) for field in self.schema}


def open_arrow(path: Path) -> ArrowFile:
    """Return a Parquet or Arrow file; of Arrow both layouts, file and stream.

    Raises:
        DataError: It is a text.
        pa.ArrowException: It cannot be read.
    """
    _refuse_text(path)
    if path.suffix.lower() in PARQUET:
        file = pa.parquet.ParquetFile(path)
        schema, count = file.schema_arrow, file.metadata.num_rows
        classes = _read_classes(schema)
        return ArrowFile(path, schema, count, lambda name: file.read([name]).column(name), classes)
    source = pa.memory_map(str(path))
    try:
        table = pa.ipc.open_file(source).read_all()
    except pa.ArrowInvalid:  # ``datasets`` writes streams
        source.seek(0)
        table = pa.ipc.open_stream(source).read_all()
    classes = _read_classes(table.schema)
    return ArrowFile(path, table.schema, table.num_rows, table.column, classes)


def _refuse_text(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(64)
    if start and all(byte in TEXT_BYTES for byte in start):
        suffix = ".jsonl" if start.lstrip()[:1] in (b"{", b"[") else ".csv"
        raise DataError(
            f"{path} is a text, and not what its name says",
            tip=f"mv {shlex.quote(str(path))} {shlex.quote(str(path.with_suffix(suffix)))}",
        )


def iterate_arrow(path: Path, names: Sequence[str], size: int) -> Iterator[pa.Table]:
    """Yield the rows of a file in order, at most ``size`` at once, with the columns that are asked.

    Args:
        path: The file.
        names: Of columns, or of fields in them; those that the file lacks are left out.
        size: Rows in a table.
    """
    file = open_arrow(path) if path.suffix.lower() in PARQUET else None
    if file is not None:
        kept = _list_columns(file.schema, names)
        source = pa.parquet.ParquetFile(path)
        for batch in source.iter_batches(size, columns=kept):
            yield pa.Table.from_batches([batch])
        return
    with pa.OSFile(str(path)) as stream:  # a memory map would count what was read as in use
        for batch in _iterate_batches(stream):
            table = pa.Table.from_batches([batch])
            table = table.select(_list_columns(table.schema, names))
            for start in range(0, len(table), size):
                yield table.slice(start, size)


def _iterate_batches(stream: Any) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an Arrow file or stream."""
    try:
        file = pa.ipc.open_file(stream)
    except pa.ArrowInvalid:  # ``datasets`` writes streams
        stream.seek(0)
        yield from pa.ipc.open_stream(stream)
        return
    for place in range(file.num_record_batches):
        yield file.get_batch(place)


def _list_columns(schema: pa.Schema, names: Sequence[str]) -> list[str]:
    """Return the top-level columns that some names need."""
    found = []
    for name in names:
        if name in schema.names:
            found.append(name)
        elif (along := _split_name(schema, name)) is not None:
            found.append(along[0])
    return list(dict.fromkeys(found))


def wrap_table(path: Path, table: pa.Table, schema: pa.Schema) -> ArrowFile:
    """Return some rows of a file as if they were all of it.

    Args:
        path: The file.
        table: Some of its rows and columns.
        schema: Of the file.
    """
    return ArrowFile(path, schema, table.num_rows, table.column, _read_classes(schema))


def read_column(file: ArrowFile, name: str) -> list[Any]:
    """Return the cells of one column, or of a field in it: ``meta.price``.

    Raises:
        DataError: Its type has no equivalent in a table of text, or a class has no name.
    """
    column = _read_field(file, name)
    try:
        cells = _convert(column)
    except (pa.ArrowException, ArithmeticError, ValueError, TypeError, LookupError) as error:
        raise DataError(
            f"{file.path}: column '{name}' is of type {column.type}, which cannot be read: {error}",
            tip="write it as text or as numbers",
        ) from error
    names = file.classes.get(name)
    return cells if names is None else [_name_class(file, name, cell, names) for cell in cells]


def has_field(schema: pa.Schema, name: str) -> bool:
    """Return whether a name is that of a column, or leads to a field of a struct."""
    return name in schema.names or _split_name(schema, name) is not None


def _split_name(schema: pa.Schema, name: str) -> tuple[str, list[str]] | None:
    """Return the column and the fields that a dotted name leads to, or None."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):  # a column's own name may have dots
        column = ".".join(parts[:end])
        if schema.names.count(column) != 1:
            continue
        kind, fields = schema.field(column).type, parts[end:]
        for field in fields:
            if not pa.types.is_struct(kind) or kind.get_field_index(field) < 0:
                break
            kind = kind.field(field).type
        else:
            return column, fields
    return None


def _read_field(file: ArrowFile, name: str) -> pa.ChunkedArray:
    if name in file.schema.names:
        return file.read(name)
    found = _split_name(file.schema, name)
    if found is None:
        raise DataError(f"{file.path} has no column '{name}'")
    column, fields = found
    return pc.struct_field(file.read(column), fields)


def _convert(column: pa.ChunkedArray) -> list[Any]:
    """Return cells as Python values.

    Raises:
        TypeError: There is no standard way to write the type as text.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):  # pandas' categories
        return _convert(column.cast(kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        return _convert(pa.chunked_array([pc.run_end_decode(one) for one in column.chunks]))
    if pa.types.is_timestamp(kind):
        return _format_times(column, kind)
    if pa.types.is_time(kind):
        return _format_hours(column, kind)
    for is_kind in (pa.types.is_duration, pa.types.is_interval, pa.types.is_map):
        if is_kind(kind):
            raise TypeError("there is no standard way to write it as text")
    cells: list[Any] = column.to_pylist()
    return cells


def _read_classes(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Return the class names that ``datasets`` stores in a schema, by column."""
    stored = (schema.metadata or {}).get(HUGGING_FACE)
    try:
        features = json.loads(stored or b"{}")["info"]["features"]
        found = {name: _find_names(feature) for name, feature in features.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {name: names for name, names in found.items() if names}


def _find_names(feature: Any) -> tuple[str, ...]:
    """Return the names of a class label, or of a list of them."""
    if isinstance(feature, list):
        feature = {"feature": feature[0]} if feature else {}
    if not isinstance(feature, dict):
        return ()
    if feature.get("_type") == "ClassLabel":
        return tuple(map(str, feature.get("names") or ()))
    return _find_names(feature.get("feature"))


def _name_class(file: ArrowFile, column: str, cell: Any, names: Sequence[str]) -> Any:
    """Return the name of a class index, or the names of a list of them; -1 is no class."""
    if isinstance(cell, list):
        return [_name_class(file, column, one, names) for one in cell]
    if cell is None or cell == -1:
        return None
    if not isinstance(cell, int) or not 0 <= cell < len(names):
        raise DataError(
            f"{file.path}: column '{column}' holds {cell!r}, but its class names are "
            f"{len(names)}: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}",
            tip="save the file with its own names of classes",
        )
    return names[cell]


def _format_hours(column: pa.ChunkedArray, kind: pa.DataType) -> list[str | None]:
    """Return times of day, with six or nine digits after the second where they have a fraction."""
    each_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
    whole = pa.int32() if pa.types.is_time32(kind) else pa.int64()
    texts: list[str | None] = []
    for count in column.cast(whole).to_pylist():
        if count is None:
            texts.append(None)
            continue
        second, rest = divmod(count, each_second)
        nanos = rest * (10**9 // each_second)
        text = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        if nanos:
            text += f".{nanos:09d}" if nanos % 1000 else f".{nanos // 1000:06d}"
        texts.append(text)
    return texts


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
