"""The bytes of a file that may be compressed: gzip, bzip2, xz, zstd, or a ZIP of one file."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from mmx.errors import DataError

LARGEST = 16 * 2**30
"""Bytes that a compressed table may have when it is unpacked."""
AT_ONCE = 2**24  # bytes


def _open_zstd(file: IO[bytes]) -> Any:
    return pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")


_OPENERS: dict[bytes, tuple[str, Callable[[IO[bytes]], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda file: gzip.GzipFile(fileobj=file)),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": ("zstd", _open_zstd),
}
"""First bytes of a file to how it was compressed."""

_DAMAGED = (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, pa.ArrowException)


def read_unpacked(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """Return the content of a file, unpacked if it is compressed, and a note if it was.

    Raises:
        DataError: The file is damaged, larger than :data:`LARGEST`, or a ZIP of several files.
    """
    data = path.read_bytes()
    for signature, (name, opener) in _OPENERS.items():
        if data.startswith(signature):
            try:
                with opener(io.BytesIO(data)) as file:
                    return _read_bounded(file, path), (f"{path.name} is compressed by {name}",)
            except _DAMAGED as error:
                raise _make_damaged_error(path, name, error) from error
    if data.startswith(b"PK\x03\x04"):
        return _read_only_member(path, data)
    return data, ()


class _Unpacking(io.RawIOBase):
    """What a stream unpacks, with errors that name the file, and no more than is accepted."""

    def __init__(self, stream: Any, path: Path, kind: str) -> None:
        self._stream, self._path, self._kind, self._total = stream, path, kind, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, and return how many bytes there were."""
        try:
            part = self._stream.read(len(buffer))
        except _DAMAGED as error:
            raise _make_damaged_error(self._path, self._kind, error) from error
        self._total += len(part)
        if self._total > LARGEST:
            raise _make_large_error(self._path)
        buffer[: len(part)] = part
        return len(part)


@contextlib.contextmanager
def open_unpacked(path: Path) -> Iterator[tuple[IO[bytes], tuple[str, ...]]]:
    """Open a file as :func:`read_unpacked` reads it, without its whole content in memory.

    Raises:
        DataError: The file is damaged, larger than :data:`LARGEST`, or a ZIP of several files.
    """
    with path.open("rb") as file:
        head = file.read(8)
        file.seek(0)
        for signature, (name, opener) in _OPENERS.items():
            if head.startswith(signature):
                with opener(file) as stream:
                    unpacking = io.BufferedReader(_Unpacking(stream, path, name))
                    yield cast(IO[bytes], unpacking), (f"{path.name} is compressed by {name}",)
                return
        if head.startswith(b"PK\x03\x04"):
            content, notes = read_unpacked(path)
            yield io.BytesIO(content), notes
            return
        yield file, ()


def _read_bounded(file: Any, path: Path) -> bytes:
    """Return what a stream holds, but no more than :data:`LARGEST` bytes."""
    parts, total = [], 0
    while part := file.read(AT_ONCE):
        parts.append(part)
        total += len(part)
        if total > LARGEST:
            raise _make_large_error(path)
    return b"".join(parts)


def _read_only_member(path: Path, data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Return the only file of a ZIP archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [
                one.filename
                for one in archive.infolist()
                if not one.is_dir() and not one.filename.startswith("__MACOSX/")
            ]
            if "xl/workbook.xml" in names or len(names) != 1:
                what = "an Excel workbook" if "xl/workbook.xml" in names else "a ZIP archive"
                raise DataError(
                    f"{path} is not a table but {what}"
                    + (f" of {len(names)} files" if what == "a ZIP archive" else ""),
                    tip="save it as CSV" if "Excel" in what else "unpack it first",
                )
            with archive.open(names[0]) as file:
                content = _read_bounded(file, path)
    except (*_DAMAGED, RuntimeError, NotImplementedError) as error:
        raise _make_damaged_error(path, "ZIP", error) from error
    return content, (f"{path.name} is a ZIP archive of {names[0]}",)


def _make_large_error(path: Path) -> DataError:
    return DataError(
        f"{path} holds more than {LARGEST:,} bytes when it is unpacked",
        tip="divide it into several files",
    )


def _make_damaged_error(path: Path, kind: str, error: Exception) -> DataError:
    return DataError(
        f"cannot unpack {path}, which is compressed by {kind}: {error}",
        tip="the file may be cut off: copy it again",
    )
