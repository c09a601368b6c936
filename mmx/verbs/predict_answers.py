"""The answers of a run's model to rows, in parts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmx.errors import DataError
from mmx.evaluation.predict import predict
from mmx.experiment import Experiment
from mmx.printable import printable
from mmx.stage_id import Role
from mmx.stages import Loaded, open_trained
from mmx.stages.core.readable_rows import find_empty_rows, find_lost_files, find_unreadable_rows
from mmx.tasks.remarks import list_absent
from mmx.tasks.table_parts import RowsToPredict
from mmx.training.data import Rows
from mmx.training.encode import BATCH_SIZE
from mmx.training.precision import Precision
from mmx.verbs.predict_rows import RowAnswers, RowCounts
from mmx.verbs.predict_source import RowSourceInUse, ask_rows

AT_ONCE = 32 * BATCH_SIZE
"""Rows that are read together at most, and ..."""
BYTES_AT_ONCE = 2**28
"""the bytes that they take decoded."""


@dataclass(frozen=True)
class OpenedModel:
    """The trained model of a run, ready to predict.

    Attributes:
        run: The run directory.
        experiment: Assembled from the run's config.
        trained: The model, on its device.
        precision: What it computes in.
    """

    run: Path
    experiment: Experiment
    trained: Loaded
    precision: Precision


class AskedRows:
    """The rows that a model is asked for.

    Args:
        opened: The model.
        data: DATA of the command line; None for the run's own test split.
        keep: Columns of the table to carry over.
        source: The rows themselves, instead of where they lie.

    Attributes:
        counts: Rows with and without answers, after :meth:`answer`.

    Raises:
        MmxError: The run cannot read such data.
    """

    def __init__(
        self,
        opened: OpenedModel,
        data: Path | None = None,
        keep: Sequence[str] = (),
        *,
        source: RowSourceInUse | None = None,
    ) -> None:
        self._opened = opened
        self.counts = RowCounts()
        self._absent: dict[str, int] = {}
        task, trained = opened.experiment.target, opened.trained
        self._source = source or ask_rows(task, trained, data, keep, opened.run)

    @property
    def notes(self) -> list[str]:
        """What was noted of the data, and how many rows have no full answer."""
        missing = [
            text.format(f"{count} of {self.counts.rows}")
            for text, count in self._absent.items()
            if count and self._source.is_table
        ]
        return [*self._source.notes, *missing, *self.counts.warnings()]

    def answer(self) -> Iterator[RowAnswers]:
        """Yield the answers to all rows, in their order.

        The rows of a batch are the same however many are read together, so that every number is.

        Raises:
            DataError: No row can be predicted.
        """
        size = usual = self._count_at_once()
        while (part := self._source.read(size)) is not None:
            found = self._answer(part)
            if not found.names:  # too few usable rows for a batch
                size *= 2
                continue
            size = usual
            self._source.pass_over(len(found.names))
            self._count(part, found)
            yield found
        if not self.counts.answered:
            raise DataError(f"no row can be predicted; {self.counts.first_unusable}")

    def _count_at_once(self) -> int:
        """Return how many rows are read together, a multiple of a batch."""
        if self._source.is_own:
            return sys.maxsize
        trained, modalities = self._opened.trained, self._opened.experiment.modalities[Role.TARGET]
        size = sum(modalities[name].bytes_per_row(spec) for name, spec in trained.specs.items())
        most = min(AT_ONCE, BYTES_AT_ONCE // max(1, size))
        return max(1, most // BATCH_SIZE) * BATCH_SIZE

    def _count(self, part: RowsToPredict, found: RowAnswers) -> None:
        self.counts.add(found)
        rows = part.rows[: len(found.names)]
        for text, absent in list_absent(part.data.columns):
            self._absent[text] = self._absent.get(text, 0) + int(absent[rows].sum())

    def _answer(self, part: RowsToPredict) -> RowAnswers:
        """Return the answers to rows in whole batches, and to all where no more rows follow."""
        experiment, trained = self._opened.experiment, self._opened.trained
        modalities = experiment.modalities[Role.TARGET]
        unusable = find_empty_rows(part.data, modalities, part.rows)
        usable, count = self._take_batches(part, unusable)
        try:
            outputs, values = self._predict(part, usable)
        except DataError:  # some row cannot be decoded: find out which, and predict the others
            rest = part.rows[~np.isin(part.rows, list(unusable))]
            broken = find_unreadable_rows(part.data, modalities, trained.specs, rest)
            if not broken:
                raise
            unusable |= broken
            usable, count = self._take_batches(part, unusable)
            outputs, values = self._predict(part, usable)
        places = {int(row): place for place, row in enumerate(part.rows[:count])}
        lost = find_lost_files(part.data, modalities, usable)
        reasons = {places[row]: why for row, why in sorted(unusable.items()) if row in places}
        return RowAnswers(
            names=part.names[:count],
            answered=[places[int(row)] for row in usable],
            outputs=outputs,
            target=trained.target,
            known=values if self._source.is_own else None,
            unusable=reasons,
            incomplete={places[row]: why for row, why in lost.items()},
            kept={name: cells[:count] for name, cells in part.kept.items()},
        )

    def _take_batches(self, part: RowsToPredict, unusable: dict[int, str]) -> tuple[Rows, int]:
        """Return the rows that are predicted now, and how many rows are answered then."""
        usable = part.rows[~np.isin(part.rows, list(unusable))]
        whole = len(usable) // BATCH_SIZE * BATCH_SIZE
        if self._source.is_last or whole == len(usable):
            return usable, len(part.rows)
        return usable[:whole], int(np.flatnonzero(part.rows == usable[whole])[0])

    def _predict(self, part: RowsToPredict, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return outputs ``(N, C)`` and targets of rows, without reading other rows."""
        opened, data = self._opened, part.data
        if not len(rows):
            return torch.empty(0, opened.trained.target.outputs), data.values[rows]
        chosen = replace(data, splits={**data.splits, "test": rows})
        trained, precision = opened.trained, opened.precision
        batches = open_trained(opened.experiment, trained, chosen, precision).unlock_test()
        return predict(trained.model, batches, rows, precision)


def answer_rows(
    opened: OpenedModel, data: Path | None, keep: Sequence[str] = ()
) -> tuple[AskedRows, RowAnswers]:
    """Return the rows of a file or folder, and the model's answers to all of them.

    Args:
        opened: The model.
        data: DATA of the command line; None for the run's own test split.
        keep: Columns of the table to carry over.

    Raises:
        MmxError: The run cannot read such data, or no row of it.
    """
    asked = AskedRows(opened, data, keep)
    return asked, RowAnswers.join(list(asked.answer()))


def print_notes(asked: AskedRows) -> None:
    """Print on stderr what was noted of the data, and how many rows have no full answer."""
    for line in asked.notes:
        print(f"note: {printable(line)}", file=sys.stderr)
