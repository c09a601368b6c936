"""Official files of data sets: fetched whole and checked, or not there at all.

What is fetched lies in a folder of its own until all of it is there, so that a download that was
interrupted leaves nothing that looks like data.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from mmx.errors import DataError

LEFT = ".fetching-"
"""How the names of folders begin in which files lie while they are fetched."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set as its authors publish it.

    Attributes:
        name: What it is called here.
        address: Where it lies.
        digest: Of its content, such as ``md5:0123…`` or ``sha256:0123…``.
    """

    name: str
    address: str
    digest: str

    def is_at(self, path: Path) -> bool:
        """Return whether a file has the content that was published."""
        algorithm, _, digest = self.digest.partition(":")
        return path.is_file() and digest_file(path, algorithm) == digest


def digest_file(path: Path, algorithm: str) -> str:
    """Return the hex digest of a file, which is read in parts.

    Args:
        path: The file.
        algorithm: ``md5`` or ``sha256``.
    """
    # md5 is what these files were published with; it finds damage, not an attacker.
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def fetch_file(file: RemoteFile, folder: Path) -> Path:
    """Fetch a file into a folder and return its path.

    Raises:
        DataError: What was fetched is not what was published; it is removed.
        OSError: It cannot be fetched.
    """
    from torch.hub import download_url_to_file  # slow to import

    path = folder / file.name
    download_url_to_file(file.address, str(path))
    if not file.is_at(path):
        size = path.stat().st_size
        path.unlink()
        raise DataError(
            f"{file.name}: the {size:,} bytes from {file.address} are not the official file, of "
            f"which {file.digest.replace(':', ' is ')}",
            tip="the same command fetches it again",
        )
    return path


def unpack_tar(archive: Path, folder: Path) -> None:
    """Unpack a TAR, also a compressed one, into a folder, and remove it.

    Raises:
        tarfile.TarError: It is damaged, or a name leads out of the folder.
    """
    with tarfile.open(archive, "r:*") as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()


def fetch_into(root: Path, name: str, fetch: Callable[[Path], None]) -> list[str]:
    """Put what ``fetch`` makes into a folder, once all of it is there.

    Args:
        root: The folder, which is made if it does not exist.
        name: Of the data set; two processes that fetch one set take turns.
        fetch: Fills an empty folder.

    Returns:
        Names of what was there before and has been moved aside.
    """
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f"{LEFT}{name}.lock"):
        for left in root.glob(f"{LEFT}{name}-*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=f"{LEFT}{name}-") as place:
            fetch(Path(place))
            found = sorted(Path(place).iterdir())
            return [old for each in found if (old := _move_in(each, root / each.name))]


def _move_in(new: Path, place: Path) -> str | None:
    """Move a file or folder to its place; return what a damaged folder there is called now."""
    aside = None
    if place.is_dir() and not place.is_symlink():
        names = itertools.chain([".damaged"], (f".damaged{n}" for n in itertools.count(2)))
        aside = next(p for end in names if not (p := place.with_name(place.name + end)).exists())
        place.rename(aside)
    new.replace(place)
    return None if aside is None else aside.name
