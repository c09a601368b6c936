"""Cells of a table file: CSV, TSV, Parquet and JSON lines, read alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from mmx.errors import DataError

SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".json")

Cells = list[Any]
Read = Callable[[list[str]], dict[str, Cells]]


def open_table(path: Path) -> tuple[list[str], Read]:
    """Return the column names, and a function that reads some of the columns.

    CSV cells stay strings, so that "007" keeps its zeros and "NA" its meaning.

    Raises:
        DataError: The file is of another kind, or broken.
    """
    openers = {
        ".csv": _open_csv,
        ".tsv": _open_csv,
        ".parquet": _open_parquet,
        ".jsonl": _open_json,
        ".json": _open_json,
    }
    opener = openers.get(path.suffix.lower())
    if opener is None:
        raise DataError(f"cannot read a table from {path}; accepted: {', '.join(SUFFIXES)}")
    try:
        names, read = opener(path)
    except (pa.ArrowException, OSError) as error:
        raise _broken(path, error) from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path} has more than one column '{twice[0]}'", tip="rename one of them")

    def columns(wanted: list[str]) -> dict[str, Cells]:
        try:
            table = read(wanted)
        except (pa.ArrowException, OSError) as error:
            raise _broken(path, error) from error
        return {name: table.column(name).to_pylist() for name in wanted}

    return names, columns


def as_text(cell: Any, missing: frozenset[str]) -> str | None:
    """Return a cell as text, None where it is missing; whole numbers have no ".0"."""
    if cell is None or cell != cell:  # NaN is not itself
        return None
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    text = str(cell)
    return None if text.strip() in missing else text


def _open_csv(path: Path) -> tuple[list[str], Callable[[list[str]], pa.Table]]:
    parse = pa.csv.ParseOptions(
        delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True
    )
    with pa.csv.open_csv(path, parse_options=parse) as reader:
        names = reader.schema.names

    def read(wanted: list[str]) -> pa.Table:
        strings = pa.csv.ConvertOptions(
            include_columns=wanted, column_types={name: pa.string() for name in wanted}
        )
        return pa.csv.read_csv(path, parse_options=parse, convert_options=strings)

    return names, read


def _open_parquet(path: Path) -> tuple[list[str], Callable[[list[str]], pa.Table]]:
    file = pa.parquet.ParquetFile(path)
    return file.schema_arrow.names, file.read


def _open_json(path: Path) -> tuple[list[str], Callable[[list[str]], pa.Table]]:
    table = pa.json.read_json(path)
    return table.column_names, table.select


def _broken(path: Path, error: Exception) -> DataError:
    tip = "one JSON object a line is read" if path.suffix.lower().startswith(".json") else None
    return DataError(f"cannot read table {path}: {error}", tip=tip)
