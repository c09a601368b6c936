"""Files in a ZIP or TAR archive, read where they are: nothing is unpacked to disk."""

from __future__ import annotations

import functools
import os
import posixpath
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from mmx.errors import DataError

LARGEST_MEMBER = 2**30
"""Bytes that a file in an archive may have."""
ARCHIVE_SUFFIXES = (".zip", ".tar")
PACKED_SUFFIXES = (".tgz", ".tbz", ".txz", ".gz", ".bz2", ".xz", ".7z", ".rar")


@dataclass(frozen=True)
class Member:
    """A file in an archive, with what its column needs of a path.

    Attributes:
        archive: The archive.
        name: Name of the file in it, with slashes.
        size: In bytes, as the archive says.
    """

    archive: Path
    name: str
    size: int

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"

    def read_bytes(self) -> bytes:
        """Return the content.

        Raises:
            OSError: It is damaged, encrypted, or larger than :data:`LARGEST_MEMBER`.
        """
        if self.size > LARGEST_MEMBER:
            raise OSError(f"it has {self.size:,} bytes; at most {LARGEST_MEMBER:,} are read")
        if self.archive.suffix.lower() == ".tar":
            return self._read_from_tar()
        try:
            # The size in a ZIP may be wrong: reading is bounded by it all the same.
            with _open_zip(self.archive, _stamp(self.archive), os.getpid()).open(self.name) as file:
                content = file.read(self.size + 1)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
            raise OSError(str(error)) from error
        if len(content) != self.size:
            raise OSError(f"the archive says {self.size:,} bytes, and it has more or fewer")
        return content

    def _read_from_tar(self) -> bytes:
        start, size = _list_tar(self.archive, _stamp(self.archive))[self.name]
        with self.archive.open("rb") as file:
            file.seek(start)
            content = file.read(size)
        if len(content) != size:
            raise OSError("the archive is cut off")
        return content


class Archive:
    """An archive that stands for a folder.

    Args:
        path: A ``.zip`` or ``.tar`` file.
        inside: Folder in it that names are relative to; "" for its top.

    Raises:
        DataError: It is damaged.
    """

    def __init__(self, path: Path, inside: str = "") -> None:
        self.path, self.inside = path, inside
        is_tar = path.suffix.lower() == ".tar"
        try:
            if is_tar:
                self.sizes = {
                    name: size for name, (_, size) in _list_tar(path, _stamp(path)).items()
                }
            else:
                with zipfile.ZipFile(path) as file:
                    self.sizes = {
                        one.filename: one.file_size for one in file.infolist() if not one.is_dir()
                    }
        except (OSError, zipfile.BadZipFile, tarfile.TarError) as error:
            raise DataError(
                f"cannot read the archive {path}: {error}", tip="copy it again, or unpack it"
            ) from error
        self.plain = {posixpath.normpath(name): name for name in self.sizes}

    def __truediv__(self, name: str) -> Path:
        return self.path / self.inside / name

    def find(self, name: str) -> Member | None:
        """Return the file of a name relative to the folder, or None.

        Names are only looked up in the archive's list, so that none leads out of it.
        """
        found = self.plain.get(posixpath.normpath(posixpath.join(self.inside, name)))
        return None if found is None else Member(self.path, found, self.sizes[found])


def find_archive(path: Path) -> Archive | None:
    """Return the archive that a path is or lies in, or None.

    Raises:
        DataError: It lies in an archive that cannot be read file by file.
    """
    for place in (path, *path.parents):
        suffix = place.suffix.lower()
        if suffix in ARCHIVE_SUFFIXES and place.is_file():
            inside = path.relative_to(place).as_posix()
            return Archive(place, "" if inside == "." else inside)
        if suffix in PACKED_SUFFIXES and place.is_file():
            raise DataError(
                f"files in {place} cannot be read one by one",
                tip=f"tar -xf {place}   (or make a .zip or an uncompressed .tar of it)",
            )
    return None


Stamp = tuple[int, int, int, int]
"""Number, size and times of a file."""


def _stamp(path: Path) -> Stamp:
    """Return what changes where a file is replaced or rewritten, so that no old one stays open."""
    state = path.stat()  # a copy may keep size and time of change, but not that of its status
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


@functools.lru_cache(maxsize=8)
def _open_zip(path: Path, stamp: Stamp, process: int) -> zipfile.ZipFile:
    """Return an open archive; each process has its own, since forks share a file's position."""
    return zipfile.ZipFile(path)


@functools.lru_cache(maxsize=8)
def _list_tar(path: Path, stamp: Stamp) -> dict[str, tuple[int, int]]:
    """Return start and size of each regular file in a TAR, in bytes; the last of a name counts."""
    with tarfile.open(path, "r:") as file:
        return {one.name: (one.offset_data, one.size) for one in file if one.isreg()}
