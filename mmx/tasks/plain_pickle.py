"""Pickles of plain data, read without running anything of theirs.

A pickle is a program: it may name any function and have it called. Here the only names that lead
anywhere are those of NumPy's arrays and numbers, and what they lead to are stand-ins of this file,
which check what they are given. Every other name is refused, and said.

    read_pickle(path)    dicts, lists, text, numbers and arrays of numbers and text
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mmx.errors import UnreadableFileError
from mmx.untrusted import open_regular

DTYPE = re.compile(r"f[248]|[iu][1248]|b1|[SU][1-9]\d{0,5}|O8?")
"""Kinds of arrays: numbers, texts, and lists of what may be read."""
MAX_DEPTH = 32
MAX_AXES = 16
PLAIN = (str, bytes, int, float, type(None))
BROKEN = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a damaged or hostile pickle makes the unpickler raise."""


class _Refused(pickle.UnpicklingError):
    """The pickle names something that is not read."""


def read_pickle(path: Path) -> Any:
    """Return the plain data in a pickle.

    Raises:
        UnreadableFileError: It cannot be opened, is damaged, or holds anything else; the message
            says what.
    """
    with open_regular(path) as file:
        try:
            return _Finish().finish(_Plain(file).load())
        except _Refused as error:
            raise UnreadableFileError(path, str(error)) from error
        except BROKEN as error:
            why = str(error) or type(error).__name__
            raise UnreadableFileError(path, f"is no pickle that can be read: {why}") from error


class _Array:
    """Stands for an array while it is read; see ``ndarray.__reduce__``."""

    __slots__ = ("data", "dtype", "fortran", "shape")

    def __init__(self, shape: Any = (), dtype: Any = None, data: Any = None, order: Any = "C"):
        self.shape, self.dtype, self.data, self.fortran = shape, dtype, data, order == "F"

    def __setstate__(self, state: Any) -> None:
        """Take what ``ndarray.__setstate__`` takes."""
        _, self.shape, self.dtype, self.fortran, self.data = state


class _Dtype:
    """Stands for the type of an array while it is read."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not DTYPE.fullmatch(code):
            raise _Refused(f"holds an array of type {code!r}; accepted: numbers and text")
        self.code, self.order = code, "|"

    def __setstate__(self, state: Any) -> None:
        """Take the order of bytes; a type with fields is refused."""
        _, order, *fields = state
        if order not in ("<", ">", "|", "=") or any(each is not None for each in fields[:3]):
            raise _Refused("holds an array with fields; accepted: arrays of numbers and text")
        self.order = order


class _Name:
    """What a name in a pickle leads to. It can be called, and nothing of it can be changed."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *given: Any) -> Any:
        """Return what stands for the object."""
        return self._make(*given)

    def __setstate__(self, state: Any) -> None:
        """Refuse a pickle that gives the name itself other attributes."""
        raise _Refused("changes what it names")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    return _Array(shape, dtype, data, order)


def _scalar(dtype: Any, data: Any) -> _Array:
    return _Array((), dtype, data)


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused(f"encodes {type(text).__name__} as {encoding!r}")
    return text.encode("latin1")


def _no_bytes(*given: Any) -> bytes:
    if given:
        raise _Refused("makes bytes of something")
    return b""


def _mapping(items: Any = ()) -> dict[Any, Any]:
    return dict(items)


def _nothing(*_: Any) -> None:
    raise _Refused("makes an array in a way that NumPy does not")


NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    **{
        (f"numpy.{core}.{module}", name): make
        for core in ("core", "_core")
        for module, name, make in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _nothing,
    ("_codecs", "encode"): _encode,
    ("builtins", "bytes"): _no_bytes,
    ("__builtin__", "bytes"): _no_bytes,
    ("collections", "OrderedDict"): _mapping,
}
"""What a pickle may name, as any version of Python and NumPy writes it, to what it leads to."""


class _Plain(pickle.Unpickler):
    """Reads a pickle in which names lead to :data:`NAMES` alone."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")  # what Python 2 wrote as text or bytes

    def find_class(self, module: str, name: str) -> _Name:
        """Return what a name leads to.

        Raises:
            UnpicklingError: It is none of those that are read.
        """
        make = NAMES.get((module, name))
        if make is None:
            raise _Refused(
                f"names {module}.{name}, and nothing of a pickle is run; accepted: dicts, lists, "
                "text, numbers and NumPy arrays of them"
            )
        return _Name(make)

    def persistent_load(self, key: Any) -> Any:
        """Refuse an object that is kept elsewhere."""
        raise _Refused("refers to an object that is not in the file")


class _Finish:
    """Turns stand-ins into arrays, and refuses everything that is not plain.

    What occurs several times is finished once: a small pickle can name one list very often.
    """

    def __init__(self) -> None:
        self.done: dict[int, tuple[Any, Any]] = {}  # with the object, so that its id stays its own
        self.open: set[int] = set()

    def finish(self, value: Any, depth: int = 0) -> Any:
        """Return plain data.

        Raises:
            UnpicklingError: It is something else, too deep, or contains itself.
        """
        if isinstance(value, PLAIN):
            return value
        key = id(value)
        if key in self.done:
            return self.done[key][1]
        if key in self.open or depth > MAX_DEPTH:
            raise _Refused("holds lists within lists without end")
        self.open.add(key)
        found = self._finish(value, depth + 1)
        self.open.remove(key)
        self.done[key] = (value, found)
        return found

    def _finish(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            if odd := next((k for k in value if not isinstance(k, PLAIN)), None):
                raise _Refused(f"has a {type(odd).__name__} as a key")
            return {key: self.finish(each, depth) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.finish(each, depth) for each in value]
        if isinstance(value, _Array):
            return self._make_array(value, depth)
        what = "a bare name" if isinstance(value, _Name) else f"a {type(value).__name__}"
        raise _Refused(
            f"holds {what.replace('_', '')}; accepted: dicts, lists, text, numbers, arrays"
        )

    def _make_array(self, given: _Array, depth: int) -> Any:
        """Return an array, or a number for one without axes."""
        shape, dtype, data = given.shape, given.dtype, given.data
        whole = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        if not whole or len(shape) > MAX_AXES or not isinstance(dtype, _Dtype):
            raise _Refused("holds a damaged array")
        array = (
            self._make_objects(data, math.prod(shape), depth)
            if dtype.code[0] == "O"
            else _make_numbers(data, math.prod(shape), np.dtype(dtype.order + dtype.code))
        )
        array = array.reshape(shape, order="F" if given.fortran else "C")
        return array if shape else array.item()

    def _make_objects(self, data: Any, count: int, depth: int) -> npt.NDArray[Any]:
        if not isinstance(data, list) or len(data) != count:
            raise _Refused("holds a damaged array")
        array = np.empty(count, dtype=object)
        for place, each in enumerate(data):
            array[place] = self.finish(each, depth)
        return array


def _make_numbers(data: Any, count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return ``(count,)`` numbers or texts of the bytes of an array."""
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(raw, bytes | bytearray) or len(raw) != count * dtype.itemsize:
        raise _Refused("holds a damaged array")
    return np.frombuffer(raw, dtype=dtype) if count else np.empty(0, dtype=dtype)
