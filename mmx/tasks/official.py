"""Public data sets: their official files, which are fetched only where that is asked for."""

import contextlib
import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import HTTPError

import numpy as np
import numpy.typing as npt

from mmx.errors import DataError
from mmx.modalities import Modality
from mmx.modalities.image import Image, ImageColumn
from mmx.tasks.base import Samples, Task
from mmx.tasks.fetching import RemoteFile, fetch_into
from mmx.tasks.folders import collect_samples, list_folder
from mmx.tasks.torchvision_rows import Images, join_class_names, join_images, list_set_rows

UNUSABLE = (RuntimeError, OSError, ValueError, EOFError, AssertionError)
"""What libraries raise for official files that are absent, cut off or damaged."""

FOLDERS = ("train", "val", "test")
"""Folders of images that are read in place of official files; ``val`` may be absent."""


@dataclass(kw_only=True, eq=False)
class OfficialSet(Task):
    """Base of the data sets that have official files with digests.

    Files that are there are read. With ``download``, files that are absent or damaged are fetched,
    checked by their digests, and put in place once all of them are there.

    Args:
        data_dir: Folder of the data, also for downloads.
        download: Whether to fetch the official files if they are absent or damaged.
    """

    data_dir: str
    download: bool = False

    files: ClassVar[str]
    """Name of the official file or folder that is there if any is."""

    @abstractmethod
    def read_official(self, root: Path) -> Samples:
        """Return what the official files in a folder hold.

        Raises:
            RuntimeError, OSError, ValueError, EOFError, AssertionError: They are absent or damaged.
        """

    @abstractmethod
    def fetch(self, place: Path) -> None:
        """Fetch the official files into an empty folder, and check their digests."""

    @property
    def looked_for(self) -> str:
        """What was looked for, where the official files are absent."""
        return f"there are no official files in {Path(self.data_dir).expanduser() / self.files}"

    def read(self) -> Samples:
        """Return the rows in the authors' splits."""
        root = Path(self.data_dir).expanduser()
        try:
            with _quiet():
                return self.read_official(root)
        except UNUSABLE as error:
            if not self.download:
                raise self.describe_error(root, error) from error
        try:
            with _quiet():
                aside = fetch_into(root, self.name, self.fetch)
        except UNUSABLE as error:
            if isinstance(error, HTTPError):
                error.close()  # it holds the connection
            raise DataError(
                f"{self.name}: the official files cannot be fetched: {error}",
                tip="the same command fetches them again; or put them into "
                f"{root / self.files} yourself",
            ) from error
        try:
            with _quiet():
                samples = self.read_official(root)
        except UNUSABLE as error:
            raise self.describe_error(root, error) from error
        notes = [f"{root / old} was damaged, and is not used" for old in aside]
        return replace(samples, notes=(*samples.notes, *notes))

    def describe_error(self, root: Path, error: Exception) -> DataError:
        """Return the error for official files that are absent or damaged."""
        size = f" ({self.facts.size})" if self.facts is not None else ""
        if not (root / self.files).exists():
            return DataError(
                f"{self.name}: {self.looked_for}",
                tip=f"download=true fetches the official files{size}; "
                "MMX_DATA_DIR=<folder> sets the folder of the data",
            )
        bad = self.find_damaged(root)
        return DataError(
            f"{self.name}: the official files in {root} cannot be used: "
            + (f"{bad} is absent or damaged ({error})" if bad else str(error)),
            tip=f"download=true fetches them again{size}",
        )

    def find_damaged(self, root: Path) -> str | None:
        """Return the name of the first official file that is absent or damaged, if it is known."""
        return None

    def check_rows(self, split: str, count: int) -> None:
        """Raise ValueError unless a split has its official number of rows.

        It is for sets of many files: half of them, as an interrupted unpacking leaves them, would
        be read like a whole.
        """
        expected = {} if self.facts is None else self.facts.rows
        if count != expected.get(split, count):
            raise ValueError(
                f"{self.files} holds {count:,} rows of {split}, and the official files "
                f"{expected[split]:,}"
            )


@dataclass(kw_only=True, eq=False)
class OfficialImages(OfficialSet):
    """Base of the sets of images that torchvision can download and verify.

    ``<data_dir>/<folder>/{train,test}/<class>/`` is read if it exists, and ``val`` next to them,
    else the official files in ``data_dir``.

    Args:
        data_dir: Folder of the data, also for downloads.
        download: Whether to fetch the official files if they are absent or damaged.
        image: How the images are decoded.
    """

    image: Image

    folder: ClassVar[str]
    """Name of the folder of images; "" for none."""

    splits: ClassVar[Sequence[str]] = ("train", "test")
    """The authors' splits."""

    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        """The image."""
        return {"image": self.image}

    @property
    def looked_for(self) -> str:
        """The folder of images and the official files."""
        root = Path(self.data_dir).expanduser()
        return (
            f"there are no images in {root / self.folder}/{{train,test}}/<class> "
            f"and no official files in {root / self.files}"
        )

    @abstractmethod
    def open_official(self, root: str, split: str, *, download: bool) -> Any:
        """Return torchvision's data set of a split."""

    def list_splits(self) -> Sequence[str]:
        """Return the authors' splits."""
        return self.splits

    def list_images(self, data: Any) -> tuple[Images, list[int], list[str]]:
        """Return the images, labels and class names of torchvision's data set."""
        return list_set_rows(data)

    def list_digests(self) -> Iterable[tuple[str, str]]:
        """Return the official files and their MD5 digests, as far as torchvision knows them."""
        return ()

    def find_damaged(self, root: Path) -> str | None:
        """Return the first official file that has another digest."""
        for name, digest in self.list_digests():
            if not RemoteFile(name, "", f"md5:{digest}").is_at(root / name):
                return name
        return None

    def read(self) -> Samples:
        """Return images and classes, in the authors' splits."""
        folder = Path(self.data_dir).expanduser() / self.folder
        if self.folder and (folder / "train").is_dir() and (folder / "test").is_dir():
            there = [split for split in FOLDERS if (folder / split).is_dir()]
            return collect_samples({split: list_folder(folder / split) for split in there})
        return super().read()

    def read_official(self, root: Path) -> Samples:
        """Return the images of all splits in one column."""
        images: list[Images] = []
        labels: list[int] = []
        classes: list[list[str]] = []
        splits: dict[str, npt.NDArray[np.int64]] = {}
        for split in self.list_splits():
            data = self.open_official(str(root), split, download=False)
            part, of_rows, names = self.list_images(data)
            if not self.list_digests():  # else torchvision checks all that it reads
                self.check_rows(split, len(of_rows))
            images.append(part)
            classes.append(names)
            splits[split] = np.arange(len(labels), len(labels) + len(of_rows))
            labels += of_rows
        return Samples(
            {"image": ImageColumn(join_images(images))},
            np.array(labels, dtype=np.int64),
            join_class_names(classes),
            splits,
        )

    def fetch(self, place: Path) -> None:
        """Let torchvision fetch, verify and unpack all splits."""
        for split in self.list_splits():
            try:
                self.open_official(str(place), split, download=True)
            except RuntimeError as error:  # torchvision does not say which file
                fetched = [each for each in place.rglob("*") if each.is_file()]
                last = max(fetched, key=lambda each: each.stat().st_mtime_ns, default=None)
                raise RuntimeError(f"{last.name}: {error}" if last else str(error)) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send what libraries print, such as progress, to stderr: stdout is for mmx's own output."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
