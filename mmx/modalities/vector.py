"""Vectors: rows of as many numbers each, such as embeddings, standardised item by item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
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

CHUNK = 4096  # rows that are read at once for the statistics


@dataclass(frozen=True)
class VectorSpec(Spec):
    """The statistics of each item over the training rows.

    Attributes:
        means, stds: Mean and standard deviation of each of the D items; std is 1 for an item
            that is constant.
        flags: Whether the input has D more numbers, 1.0 where an item is missing; so where any
            item of the training rows is.
    """

    means: tuple[float, ...]
    stds: tuple[float, ...]
    flags: bool = False

    @property
    def width(self) -> int:
        """Numbers of an encoder's input."""
        return len(self.means) * (2 if self.flags else 1)


class Lengths:
    """The length of the first vector, and the check that all others have it."""

    def __init__(self) -> None:
        self.first: tuple[int, int] | None = None  # length and row

    def check(self, width: int, row: int) -> None:
        """Raise DataError for a vector of another length than the first, or of none."""
        if not width:
            raise DataError(f"row {row + 1}: the vector has no numbers", tip="remove the row")
        self.first = self.first or (width, row)
        if width != self.first[0]:
            raise DataError(
                f"row {row + 1}: the vector has {width} numbers, that of row "
                f"{self.first[1] + 1} has {self.first[0]}",
                tip="vectors of one column have one length; columns.sequence reads others",
            )


class VectorColumn(SourceColumn):
    """Vectors as arrays or as ``.npy`` files.

    Args:
        vectors: An array ``(N, D)``, NaN where an item is missing; a row of NaN alone lacks the
            modality. Or for each row an array ``(D,)``, a file, the bytes of one, or None.

    Raises:
        DataError: Two rows have different lengths; the message names the row.
    """

    cells = "numbers"
    what = "vector"

    def __init__(
        self, vectors: Sequence[ArrayCell | None] | npt.NDArray[np.floating | np.integer]
    ) -> None:
        super().__init__(vectors)
        self.vectors = vectors
        self.present = np.array([_is_there(one) for one in vectors], dtype=np.bool_)
        lengths = Lengths()
        for row in np.flatnonzero(self.present).tolist():
            if isinstance(vector := vectors[row], np.ndarray):
                lengths.check(vector.size, row)
                if isinstance(vectors, np.ndarray):  # all its rows are alike
                    break

    def digest(self, row: int) -> bytes:
        """Return the numbers as float64, the same for a file and for an array."""
        return self.read(row).tobytes() if self.present[row] else b""

    def read(self, row: int) -> npt.NDArray[np.float64]:
        """Return the vector of one row, ``(D,)``, NaN where an item is missing.

        Raises:
            DataError: The file cannot be read, or is no vector.
        """
        source = cast(ArrayCell, self.vectors[row])  # it is present
        numbers = read_array("vector", source, self.name_row(row))
        if numbers.ndim != 1:
            shape = "×".join(map(str, numbers.shape)) or "a single number"
            raise DataError(
                f"{self.name_row(row)}: {name_array('vector', source)} is {shape}: a vector has "
                "one axis; columns.sequence reads arrays of two, steps and features"
            )
        return numbers

    def find_width(self) -> int | None:
        """Return the length of the vectors; None where no row has one."""
        for row in np.flatnonzero(self.present)[:1].tolist():
            source = cast(ArrayCell, self.vectors[row])  # it is present
            return int(np.prod(read_shape("vector", source, self.name_row(row))))
        return None


class Vector(Modality[VectorColumn, VectorSpec]):
    """Vectors of one length, each item standardised over the training rows.

    Use it for embeddings and other features that were computed elsewhere: lists of numbers,
    ``.npy`` files, or columns of numbers. ``tabular`` is for cells that mean different things:
    it tells numbers from words, and each column has a name that source and target must share.
    A vector has items without names, in an order, and all of them are numbers.

    A missing item counts as the mean; where items of training rows are missing, the input also
    says which ones. A constant item is only centred.

    Args:
        standardize: False keeps the numbers as they are, such as embeddings of length 1.
    """

    name = "vector"
    column_type = VectorColumn

    def __init__(self, *, standardize: bool = True) -> None:
        self.standardize = standardize

    def fit(self, column: VectorColumn, rows: RowNumbers) -> VectorSpec:
        """Return the mean and standard deviation of each item.

        Raises:
            DataError: No training row has a vector, or one cannot be read.
        """
        moments: Moments | None = None
        missing = False
        for part in _read_in_chunks(column, as_rows(rows)):
            moments = moments or Moments(part.shape[1])
            moments.add(part)
            missing = missing or bool(np.isnan(part).any())
        if moments is None:
            raise DataError("no training row has a vector")
        if not self.standardize:
            width = len(moments.means())
            return VectorSpec((0.0,) * width, (1.0,) * width, missing)
        return VectorSpec(tuple(moments.means()), tuple(moments.stds()), missing)

    def encode(self, column: VectorColumn, rows: RowNumbers, spec: VectorSpec) -> Stored:
        """Return ``(B, D)`` float32, or ``(B, 2 D)`` with flags.

        Raises:
            DataError: A vector has another length than those of the training rows.
        """
        rows = as_rows(rows)
        width = len(spec.means)
        values = np.zeros((len(rows), spec.width), dtype=np.float32)
        means, stds = np.array(spec.means), np.array(spec.stds)

        def decode(i: int) -> None:
            row = int(rows[i])
            if not column.present[row]:
                return
            numbers = column.read(row)
            if len(numbers) != width:
                raise DataError(
                    f"{column.name_row(row)}: the vector has {len(numbers)} numbers, those of the "
                    f"training rows have {width}"
                )
            missing = np.isnan(numbers)
            values[i, :width] = np.where(missing, 0.0, (numbers - means) / stds)  # 0 is the mean
            if spec.flags:
                values[i, width:] = missing

        call_each(decode, len(rows))
        return Stored(torch.from_numpy(values))

    def example(self) -> VectorSpec:
        """Return a spec of three items."""
        return VectorSpec((0.0,) * 3, (1.0,) * 3)

    def bytes_per_row(self, spec: VectorSpec) -> int:
        """Return 4 · D."""
        return 4 * spec.width

    def inherits(self, column: VectorColumn, spec: VectorSpec) -> bool:
        """Return whether the vectors have the length of the source's."""
        return column.find_width() == len(spec.means)

    def remarks(self, column: VectorColumn, rows: RowNumbers, spec: VectorSpec) -> tuple[str, ...]:
        """Return a note on items that are constant or missing in the training rows."""
        parts = list(_read_in_chunks(column, as_rows(rows)))
        if not parts:
            return ()
        found = []
        flat = np.all([_is_flat(part, parts[0]) for part in parts], axis=0)
        if flat.any():
            found.append(
                f"vector: {int(flat.sum())} of {len(flat)} items are the same in every training "
                "row, and tell nothing"
            )
        if missing := sum(int(np.isnan(part).sum()) for part in parts):
            total = sum(part.size for part in parts)
            found.append(f"vector: {missing} of {total} items of the training rows are missing")
        return tuple(found)

    def prepare(self, stored: Stored, spec: VectorSpec) -> Tensor:
        """Return ``(B, D)`` float32."""
        return stored.values


def _is_there(one: ArrayCell | None) -> bool:
    """Return whether a row has a vector; one of NaN alone is none."""
    if isinstance(one, np.ndarray) and one.dtype.kind == "f":
        return not bool(np.isnan(one).all())
    return one is not None


def _read_in_chunks(
    column: VectorColumn, rows: npt.NDArray[np.int64]
) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the vectors of rows that have one, ``(n, D)``, all of one length."""
    there = rows[column.present[rows]]
    lengths = Lengths()
    for start in range(0, len(there), CHUNK):
        part = []
        for row in there[start : start + CHUNK].tolist():
            part.append(column.read(row))
            lengths.check(len(part[-1]), row)
        yield np.stack(part)


def _is_flat(
    part: npt.NDArray[np.float64], first: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Return ``(D,)`` which items are everywhere as in the very first row."""
    return np.asarray((part == first[0]).all(0))
