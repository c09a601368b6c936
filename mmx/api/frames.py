"""Frames of pandas: the optional library, cells of predictions, and frames as tables."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from mmx.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd


def import_pandas() -> ModuleType:
    """Return pandas, which is an extra.

    Raises:
        UsageError: It is not installed.
    """
    try:
        pandas = import_module("pandas")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"tables in Python need pandas, which is not installed ({error})",
            tip="pip install 'mmx[pandas]'",
        ) from error
    return pandas


def write_frame(frame: pd.DataFrame, path: Path) -> Path:
    """Write a frame as a table that a run can read.

    Raises:
        DataError: A column has values that no table has.
    """
    import pyarrow as arrow
    from pyarrow import parquet

    frame = frame.rename(columns=str)
    if frame.columns.is_unique:  # else it is refused below
        objects = [name for name, kind in frame.dtypes.items() if str(kind) == "object"]
        frame = frame.assign(**{name: frame[name].map(_write_out_path) for name in objects})
    try:
        parquet.write_table(arrow.Table.from_pandas(frame, preserve_index=False), path)
    except (arrow.ArrowException, ValueError, TypeError) as error:
        reason = ": ".join(str(part) for part in reversed(error.args))
        raise DataError(
            f"the frame cannot be written as a table: {reason}",
            tip="give each column values of one type: text, numbers, bytes or lists of numbers",
        ) from error
    return path


def _write_out_path(cell: object) -> object:
    """Return a cell, and the text of one that is a path."""
    return str(cell) if isinstance(cell, Path) else cell


def read_frame_cell(cell: object, is_number: bool) -> object:
    """Return the cell of a frame: nothing for a row without a prediction."""
    if cell == "":
        return float("nan") if is_number else None
    return float(str(cell)) if is_number else cell
