"""Arrays of numbers: ``.npy`` files, their content, or arrays in memory.

Nothing in a file is run: arrays of Python objects, which would be unpickled, are refused.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mmx.errors import DataError
from mmx.modalities.files import FileOrBytes, RowName, make_unreadable_error, name_file, name_row
from mmx.modalities.members import Member

ArrayCell = FileOrBytes | npt.NDArray[Any]
"""The numbers of one row: a ``.npy`` file, its bytes, or an array."""

MAGIC = b"\x93NUMPY"
ARCHIVE = b"PK"
LARGEST = float(np.finfo(np.float32).max)

# Typed here: NumPy 2.2, the last for Python 3.10, states no types for these functions.
_HeaderReader = Callable[[BinaryIO], tuple[tuple[int, ...], bool, np.dtype[Any]]]
_read_version: Callable[[BinaryIO], tuple[int, int]] = np.lib.format.read_magic
_HEADER_READERS: dict[int, _HeaderReader] = {
    1: np.lib.format.read_array_header_1_0,
    2: np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class _Header:
    """What an array is, and where its numbers begin."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]


def read_array(what: str, source: ArrayCell, row: RowName) -> npt.NDArray[np.float64]:
    """Return the numbers of a row; NaN stays NaN.

    Args:
        what: What the array is, for messages.
        source: The file, its bytes, or an array.
        row: Row number, from 0.

    Raises:
        DataError: The file is no ``.npy`` file of numbers, is truncated, or a number is infinite
            or too large for float32; the message names file and row.
    """
    if isinstance(source, np.ndarray):
        found = source
    else:
        with _open(what, source, row) as file:
            header = _read_header(what, source, row, file)
            content = file.read(math.prod(header.shape) * header.dtype.itemsize)
        flat: npt.NDArray[Any] = np.frombuffer(content, header.dtype)
        found = flat.reshape(header.shape, order="F" if header.fortran else "C")
    numbers = np.asarray(found, dtype=np.float64, order="C")
    wild = np.abs(numbers) > LARGEST
    if wild.any():
        first = tuple(int(place) + 1 for place in np.argwhere(wild)[0])
        place = first[0] if len(first) == 1 else first
        raise DataError(
            f"{name_row(row)}: {name_array(what, source)}: {int(wild.sum())} of {numbers.size} "
            f"numbers are infinite or too large, the first at {place} (counted from 1)",
            tip="replace them, or write NaN where a number is missing from a vector",
        )
    return numbers


def read_shape(what: str, source: ArrayCell, row: RowName) -> tuple[int, ...]:
    """Return the shape of a row's array; of a file only the header is read.

    Raises:
        DataError: The file is no ``.npy`` file of numbers; the message names file and row.
    """
    if isinstance(source, np.ndarray):
        return source.shape
    with _open(what, source, row) as file:
        return _read_header(what, source, row, file).shape


def name_array(what: str, source: ArrayCell) -> str:
    """Return what an array is called in messages: with its file, if it has one."""
    return what if isinstance(source, np.ndarray) else f"{what} {name_file(source)}"


def _open(what: str, source: FileOrBytes, row: RowName) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        if isinstance(source, Member):
            return io.BytesIO(source.read_bytes())
        return source.open("rb")
    except OSError as error:
        raise make_unreadable_error(what, source, row, error.strerror or error) from error


def _read_header(what: str, source: FileOrBytes, row: RowName, file: BinaryIO) -> _Header:
    """Return what a file holds, which is read up to its numbers.

    Raises:
        DataError: It is no file of numbers, or has fewer than its header says.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    start = file.read(len(MAGIC))
    why = None
    if not size:
        why = "it is empty"
    elif start.startswith(ARCHIVE):
        why = "it is an archive of several arrays (.npz); a .npy file has one"
    elif start != MAGIC:
        why = "it is no .npy file"
    if why is not None:
        raise make_unreadable_error(what, source, row, why)
    file.seek(0)
    try:
        major, _ = _read_version(file)
        header = _Header(*_HEADER_READERS[major](file))
    except (ValueError, KeyError, SyntaxError, TypeError, EOFError) as error:
        raise make_unreadable_error(what, source, row, f"its header is damaged: {error}") from error
    if header.dtype.kind not in "fiub":
        kind = "Python objects, which are not read" if header.dtype.kind == "O" else header.dtype
        why = f"it holds {kind}; accepted: numbers"
    elif math.prod(header.shape) * header.dtype.itemsize > size - file.tell():
        why = f"it is cut off: its header says {'×'.join(map(str, header.shape))} numbers"
    if why is not None:
        raise make_unreadable_error(what, source, row, why)
    return header
