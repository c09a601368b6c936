"""Sequences: steps of as many numbers each, of any length, such as sensors or time series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, cast

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from mmx.errors import DataError
from mmx.modalities.arrays import ArrayCell, name_array, read_array, read_shape
from mmx.modalities.base import (
    Modality,
    RowNumbers,
    Spec,
    Stored,
    as_rows,
)
from mmx.modalities.files import call_each
from mmx.modalities.moments import Moments
from mmx.modalities.source_column import SourceColumn

Steps = npt.NDArray[np.float64]
"""``(T, D)``."""


@dataclass(frozen=True)
class SequenceSpec(Spec):
    """The statistics of each feature over all steps of the training rows.

    Attributes:
        means, stds: Mean and standard deviation of each of the D features; std is 1 for one
            that is constant.
        longest: Steps of the longest training row; only the need of memory depends on it.
        max_steps: A longer row is cut at its end; None: no row is.
    """

    means: tuple[float, ...]
    stds: tuple[float, ...]
    longest: int
    max_steps: int | None = None

    @property
    def width(self) -> int:
        """D, the numbers of a step."""
        return len(self.means)


class SequenceColumn(SourceColumn):
    """Sequences as arrays or as ``.npy`` files.

    Args:
        sequences: For each row an array ``(T, D)``, or ``(T,)`` for one number a step; or a file
            of one, or its bytes; or None.
    """

    cells = "array"
    what = "sequence"

    def __init__(self, sequences: Sequence[ArrayCell | None]) -> None:
        super().__init__(sequences)
        self.sequences = sequences

    def digest(self, row: int) -> bytes:
        """Return shape and numbers as float64, the same for a file and for an array."""
        if not self.present[row]:
            return b""
        steps = self.read(row)
        return str(steps.shape).encode() + steps.tobytes()

    def shape(self, row: int) -> tuple[int, int]:
        """Return the steps and features of one row.

        Raises:
            DataError: The file cannot be read, or has other axes.
        """
        source = self._source(row)
        shape = read_shape("sequence", source, self.name_row(row))
        if len(shape) not in (1, 2) or (len(shape) == 2 and not shape[1]):
            seen = "×".join(map(str, shape)) or "a single number"
            raise DataError(
                f"{self.name_row(row)}: {name_array('sequence', source)} is {seen}; "
                "accepted: steps × features, or steps alone",
                tip="write an array of one or two axes",
            )
        if shape == (0,):  # such as [], which does not say how many features its steps would have
            return 0, self._width
        return shape[0], shape[1] if len(shape) == 2 else 1

    @cached_property
    def _width(self) -> int:
        """Features of the first row that says how many it has; 1 where none does."""
        for row in np.flatnonzero(self.present).tolist():
            shape = read_shape("sequence", self._source(row), self.name_row(row))
            if len(shape) == 2:
                return shape[1]
            if shape != (0,):
                break
        return 1

    def read(self, row: int) -> Steps:
        """Return the steps of one row, ``(T, D)``.

        Raises:
            DataError: The file cannot be read, has other axes, or holds NaN or infinity; the
                message names file, row and step.
        """
        steps, width = self.shape(row)
        source = self._source(row)
        numbers = read_array("sequence", source, self.name_row(row)).reshape(steps, width)
        if len(wild := np.flatnonzero(np.isnan(numbers).any(1))):
            raise DataError(
                f"{self.name_row(row)}: {name_array('sequence', source)}: {len(wild)} of "
                f"{steps} steps hold NaN, the first is step {int(wild[0]) + 1} (counted from 1)",
                tip="fill such steps in, or leave them out of the sequence",
            )
        return numbers

    def _source(self, row: int) -> ArrayCell:
        return cast(ArrayCell, self.sequences[row])  # only rows that are present are read


class Sequences(Modality[SequenceColumn, SequenceSpec]):
    """Sequences of any length, each feature standardised over the steps of the training rows.

    Use it for sensors, time series, poses, and features of frames that were computed elsewhere:
    ``.npy`` files or lists of lists, ``(T, D)``. A batch is as long as its longest row, so a long
    row makes its own batch long and no other.

    Args:
        max_steps: A longer row is cut at its end, which a note says. None: no row is cut.
        standardize: False keeps the numbers as they are.
    """

    name = "sequence"
    streams = True
    column_type = SequenceColumn

    def __init__(
        self,
        *,
        max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None,
        standardize: bool = True,
    ) -> None:
        self.max_steps = max_steps
        self.standardize = standardize

    def fit(self, column: SequenceColumn, rows: RowNumbers) -> SequenceSpec:
        """Return the mean and standard deviation of each feature, and the longest row.

        Raises:
            DataError: No training row has a sequence, or one cannot be read.
        """
        moments: Moments | None = None
        longest = 1
        for steps in _read_each(column, as_rows(rows)):
            moments = moments or Moments(steps.shape[1])
            moments.add(steps[: self.max_steps])
            longest = max(longest, len(steps[: self.max_steps]))
        if moments is None:
            raise DataError("no training row has a sequence")
        width = len(moments.means())
        means = tuple(moments.means()) if self.standardize else (0.0,) * width
        stds = tuple(moments.stds()) if self.standardize else (1.0,) * width
        return SequenceSpec(means, stds, longest, self.max_steps)

    def encode(self, column: SequenceColumn, rows: RowNumbers, spec: SequenceSpec) -> Stored:
        """Return ``(B, T, D)`` float32, zeros after the end; an empty row is one step of zeros.

        T is the length of the longest of these rows.

        Raises:
            DataError: A row has other features than the training rows, or cannot be read.
        """
        rows = as_rows(rows)
        lengths = np.zeros(len(rows), dtype=np.int64)
        for i, row in enumerate(rows.tolist()):
            if column.present[row]:
                steps, width = column.shape(row)
                if steps and width != spec.width:
                    raise DataError(
                        f"{column.name_row(row)}: the sequence has {width} features a step, those "
                        f"of the training rows have {spec.width}"
                    )
                # 0 would mean that the row lacks the modality.
                lengths[i] = max(1, len(range(steps)[: spec.max_steps]))
        values = np.zeros((len(rows), int(lengths.max(initial=1)), spec.width), dtype=np.float32)
        means, stds = np.array(spec.means), np.array(spec.stds)

        def decode(i: int) -> None:
            row = int(rows[i])
            if column.present[row]:
                steps = column.read(row)[: spec.max_steps]
                if len(steps):
                    values[i, : len(steps)] = (steps - means) / stds

        call_each(decode, len(rows))
        return Stored(torch.from_numpy(values), torch.from_numpy(lengths))

    def example(self) -> SequenceSpec:
        """Return a spec of two features."""
        return SequenceSpec((0.0, 0.0), (1.0, 1.0), self.max_steps or 50, self.max_steps)

    def bytes_per_row(self, spec: SequenceSpec) -> int:
        """Return 4 · T · D, and eight for the length."""
        return 4 * spec.longest * spec.width + 8

    def estimate_lengths(self, column: SequenceColumn, rows: RowNumbers) -> npt.NDArray[np.int64]:
        """Return the steps of each row, from the header of a file; see :class:`Modality`."""
        # In float64, then stored as float32.
        return np.array(
            [column.shape(row)[0] if column.present[row] else 0 for row in as_rows(rows).tolist()],
            dtype=np.int64,
        )

    def inherits(self, column: SequenceColumn, spec: SequenceSpec) -> bool:
        """Return whether the steps have as many features as the source's, and are cut alike."""
        there = np.flatnonzero(column.present).tolist()
        alike = self.max_steps == spec.max_steps
        return alike and bool(there) and column.shape(there[0])[1] == spec.width

    def remarks(
        self, column: SequenceColumn, rows: RowNumbers, spec: SequenceSpec
    ) -> tuple[str, ...]:
        """Return a note on training rows that are cut."""
        lengths = self.estimate_lengths(column, rows)
        most = spec.max_steps
        cut = 0 if most is None else int((lengths > most).sum())
        if not cut:
            return ()
        return (
            f"sequence: {cut} of {int((lengths > 0).sum())} training rows are longer than "
            f"max_steps={most} and are cut at their end; the longest has {lengths.max()} steps",
        )

    def prepare(self, stored: Stored, spec: SequenceSpec) -> Tensor:
        """Return ``(B, T, D)`` float32."""
        return stored.values


def _read_each(column: SequenceColumn, rows: npt.NDArray[np.int64]) -> Iterator[Steps]:
    """Yield the steps of the rows that have any.

    Raises:
        DataError: Two rows have different features.
    """
    there = rows[column.present[rows]].tolist()
    for row in there:
        steps, first = column.read(row), column.shape(there[0])[1]
        if steps.shape[1] != first:
            raise DataError(
                f"{column.name_row(row)}: the sequence has {steps.shape[1]} features a step, "
                f"that of {column.name_row(there[0])} has {first}",
                tip="the second axis of all rows must be of one length; is one of them transposed?",
            )
        yield steps
