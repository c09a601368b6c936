"""Predictions as a file that is written in parts, and has its name only when it is whole."""

from __future__ import annotations

import contextlib
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet

from mmx.csv_text import format_csv
from mmx.errors import UsageError
from mmx.runs.atomic import require_file
from mmx.table_suffixes import PARQUET, TABLE_SUFFIXES
from mmx.verbs.predict_rows import RowAnswers

OTHERS = frozenset({*TABLE_SUFFIXES, ".xlsx", ".xls", ".gz", ".zip"}) - {".csv", ".txt", *PARQUET}
"""Suffixes of formats in which predictions are not written."""


class PredictionFile(ABC):
    """A file of predictions."""

    @abstractmethod
    def write(self, answers: RowAnswers) -> None:
        """Add some rows.

        Raises:
            UsageError: A column that is carried over has the name of a column of predictions.
        """

    @abstractmethod
    def finish(self) -> None:
        """Write what is held back."""


class CsvPredictions(PredictionFile):
    """Predictions as CSV."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._begun = file, False

    def write(self, answers: RowAnswers) -> None:
        """Add some rows; see :class:`PredictionFile`."""
        columns = answers.columns()
        header = [] if self._begun else [list(columns)]
        self._begun = True
        text = format_csv([*header, *zip(*columns.values(), strict=True)])
        self._file.write(text.encode("utf-8"))

    def finish(self) -> None:
        """Write what is held back."""
        self._file.flush()


class ParquetPredictions(PredictionFile):
    """Predictions as Parquet: numbers as numbers, null where a row has no prediction."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._writer: Any = None

    def write(self, answers: RowAnswers) -> None:
        """Add some rows; see :class:`PredictionFile`."""
        numbers = answers.target.kind == "regression"
        arrays = {
            name: _make_array(name, cells, answers, numbers=numbers)
            for name, cells in answers.columns(text=False).items()
        }
        table = pa.table(arrays)
        if self._writer is None:
            self._writer = pa.parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def finish(self) -> None:
        """Write what is held back."""
        if self._writer is not None:
            self._writer.close()
        self._file.flush()


def _make_array(
    name: str, cells: Sequence[object], answers: RowAnswers, *, numbers: bool
) -> pa.Array:
    """Return a column; its type depends on what it is, and not on its cells."""
    if name == "row":
        return pa.array(cells, pa.int64())
    if name in answers.kept:
        return pa.array(cells, pa.string())
    known = [None if cell == "" else cell for cell in cells]
    if name.startswith("p("):
        return pa.array(known, pa.float32())
    of_target = name in ("prediction", "target")
    return pa.array(known, pa.float64() if of_target and numbers else pa.string())


def require_format(path: Path) -> None:
    """Refuse the name of a file in a format in which predictions are not written.

    Raises:
        UsageError: It has such a suffix.
    """
    suffix = path.suffix.lower()
    if suffix in OTHERS:
        raise UsageError(
            f"--output {path}: predictions are written as .csv or .parquet, not as {suffix}",
            tip=f"--output {path.with_suffix('.csv')}",
        )


@contextlib.contextmanager
def open_predictions(path: Path) -> Iterator[PredictionFile]:
    """Open a file of predictions, CSV or Parquet by its suffix.

    It gets its name, and replaces what had it, at the end of the ``with`` block; after an error
    or an interruption there is no part of it.

    Raises:
        RunError: There is a link, a folder or a device in place of the file.
    """
    require_file(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(2)}")
    try:
        with temporary.open("xb") as file:  # x never follows an existing link
            parquet = path.suffix.lower() in PARQUET
            writing = ParquetPredictions(file) if parquet else CsvPredictions(file)
            yield writing
            writing.finish()
            os.fsync(file.fileno())  # before the rename, so that a crash leaves no empty file
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
