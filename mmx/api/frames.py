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

    try:
        parquet.write_table(arrow.Table.from_pandas(frame, preserve_index=False), path)
    except (arrow.ArrowException, ValueError, TypeError) as error:
        raise DataError(
            f"the frame cannot be written as a table: {error}",
            tip="give each column values of one type: text, numbers, bytes or lists of numbers",
        ) from error
    return path


def read_cell(cell: object, is_number: bool) -> object:
    """Return the cell of a frame: nothing for a row without a prediction."""
    if cell == "":
        return float("nan") if is_number else None
    return float(str(cell)) if is_number else cell
