"""Where the rows to predict come from: a table, files, or the run's own test split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mmx.errors import UsageError
from mmx.experiment.inputs import name_modality
from mmx.modalities.audio import AudioColumn
from mmx.modalities.image import ImageColumn
from mmx.modalities.suffixes import MEDIA_SUFFIXES, list_visible_files
from mmx.modalities.video import VideoColumn
from mmx.stages import Loaded
from mmx.tasks import Task, TaskData
from mmx.tasks.other_table import number_as_trained
from mmx.tasks.table_parts import RowsToPredict, TableParts
from mmx.training.data import Rows

FileColumn = type[ImageColumn] | type[AudioColumn] | type[VideoColumn]
FILES: dict[str, FileColumn] = {"image": ImageColumn, "audio": AudioColumn, "video": VideoColumn}
"""Modalities with one file for each row."""


class OpenedRows:
    """Rows of opened data, read in order.

    Args:
        every: All of them.
        notes: How they are read.
    """

    def __init__(self, every: RowsToPredict, notes: Sequence[str] = ()) -> None:
        self._every, self.notes = every, tuple(notes)
        self._done = self._end = 0

    @property
    def is_last(self) -> bool:
        """Whether the rows that were read last are the last."""
        return self._end == len(self._every.rows)

    def read(self, size: int) -> RowsToPredict | None:
        """Return the next rows, at most ``size``; None after the last."""
        every, start = self._every, self._done
        self._end = min(start + size, len(every.rows))
        if start == len(every.rows):
            return None
        rows = every.rows[start : self._end]
        data = replace(every.data, splits={**every.data.splits, "test": rows})
        names = every.names[start : self._end]
        kept = {name: cells[start : self._end] for name, cells in every.kept.items()}
        return RowsToPredict(data, rows, names, kept)

    def pass_over(self, count: int) -> None:
        """Leave the first of the rows that were read behind."""
        self._done += count


@dataclass(frozen=True)
class RowSourceInUse:
    """Rows, and what kind of data they are.

    Attributes:
        rows: Read in order.
        is_table: Whether they are rows of a table.
        is_own: Whether they are the run's own test split, which is read at once.
    """

    rows: OpenedRows | TableParts
    is_table: bool = False
    is_own: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """How the data is read, where that is unusual."""
        return self.rows.notes

    @property
    def is_last(self) -> bool:
        """Whether the rows that were read last are the last."""
        return self.rows.is_last

    def read(self, size: int) -> RowsToPredict | None:
        """Return the next rows, about ``size``; None after the last."""
        return self.rows.read(size)

    def pass_over(self, count: int) -> None:
        """Leave the first of the rows that were read behind."""
        self.rows.pass_over(count)


def ask_rows(
    task: Task, trained: Loaded, given: Path | None, keep: Sequence[str], run: Path
) -> RowSourceInUse:
    """Return the rows to predict.

    Args:
        task: The run's target.
        trained: Its model.
        given: A file or a folder; None for the run's own test split.
        keep: Columns of a table to carry over.
        run: The run directory, for advice.

    Raises:
        UsageError: The run cannot read such data, or it has no columns to carry over.
        DataError: The own test split has a class that the model does not know.
    """
    if given is None:
        data, kept = task.load(), _read_kept_columns(keep, task)
        rows = data.splits["test"]
        data = number_as_trained(data, trained.target, rows, f"target={task.name}")
        return RowSourceInUse(OpenedRows(_take(data, rows, kept)), is_own=True)
    if not given.exists():
        raise UsageError(f"{given} does not exist")
    other = task.with_path(str(given)) if given.is_file() else None
    if other is not None:
        parts = task.open_parts(str(given), keep)
        if parts is not None:
            return RowSourceInUse(parts, is_table=True)
        data, kept = other.load(), _read_kept_columns(keep, other)
        rows = np.arange(len(data.values), dtype=np.int64)
        notes = _list_reading_notes(data)
        return RowSourceInUse(OpenedRows(_take(data, rows, kept), notes), is_table=True)
    name = next(iter(trained.specs)) if len(trained.specs) == 1 else ""
    modality = name_modality(name, task.modalities.get(name)) if name else ""
    if modality not in FILES:
        raise UsageError(
            f"the run's target {task.name} reads {', '.join(trained.specs)}: {given} does not say "
            "which is which",
            tip=f"mmx predict {run}   (its own test split), or train on target=table",
        )
    _read_kept_columns(keep, None)
    return RowSourceInUse(OpenedRows(_ask_files(given, name, modality, trained)))


def _list_reading_notes(data: TaskData) -> list[str]:
    """Return the notes on how a table is read, without those that count rows, which come later."""
    return [
        note
        for note in data.notes
        if not note.endswith(("do not exist", "rows have none", "are missing"))
    ]


def _take(data: TaskData, rows: Rows, kept: dict[str, list[str]]) -> RowsToPredict:
    cells = {name: [column[int(row)] for row in rows] for name, column in kept.items()}
    return RowsToPredict(data, rows, [int(row) + 1 for row in rows], cells)


def _ask_files(given: Path, name: str, modality: str, trained: Loaded) -> RowsToPredict:
    """Return a file, or all files in a folder that training would read.

    Raises:
        UsageError: There is none.
    """
    paths = list_visible_files(given, modality) if given.is_dir() else [given]
    if not paths:
        suffixes = ", ".join(sorted(MEDIA_SUFFIXES[modality]))
        raise UsageError(f"there is no file to read in {given}; accepted: {suffixes}")
    none, rows = np.arange(0), np.arange(len(paths))
    data = TaskData(
        name=given.name,
        columns={name: FILES[modality](paths)},
        values=torch.zeros(len(paths), dtype=torch.int64),
        target=trained.target,
        splits={"train": none, "val": none, "test": rows},
        fingerprint="",
        digests={},
    )
    return RowsToPredict(data, rows, [str(path) for path in paths])


def _read_kept_columns(names: Sequence[str], task: Task | None) -> dict[str, list[str]]:
    """Return the columns to carry over.

    Raises:
        UsageError: The data is not a table.
    """
    if not names:
        return {}
    cells = None if task is None else task.read_texts(names)
    if cells is None:
        raise UsageError(
            f"--keep {' '.join(names)}: only a table has columns to keep", tip="leave --keep out"
        )
    return cells
