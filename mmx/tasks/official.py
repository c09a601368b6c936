"""Public image data sets: official files, or the same images in one folder for each class."""

import contextlib
import sys
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mmx.errors import DataError
from mmx.modalities import Modality
from mmx.modalities.image import Image, ImageColumn
from mmx.tasks.base import Samples, Task
from mmx.tasks.folders import collect_samples, list_folder


@dataclass(kw_only=True, eq=False)
class OfficialImages(Task):
    """Base of the data sets that torchvision can download and verify.

    ``<data_dir>/<folder>/{train,test}/<class>/`` is read if it exists, else the official files
    in ``data_dir``.

    Args:
        data_dir: Folder of the data, also for downloads.
        download: Whether to fetch the official files if they are absent.
        image: How the images are decoded.
    """

    data_dir: str
    download: bool = False
    image: Image

    folder: ClassVar[str]
    """Name of the folder of images."""

    files: ClassVar[str]
    """Name of the folder of official files."""

    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        """The image."""
        return {"image": self.image}

    @abstractmethod
    def read_official(self, split: str) -> tuple[npt.NDArray[np.uint8], list[int], list[str]]:
        """Return images ``(N, H, W, 3)``, labels and class names of ``train`` or ``test``."""

    def read(self) -> Samples:
        """Return images and classes, in the authors' splits."""
        root = Path(self.data_dir).expanduser()
        folder = root / self.folder
        if (folder / "train").is_dir() and (folder / "test").is_dir():
            return collect_samples(
                {split: list_folder(folder / split) for split in ("train", "test")}
            )
        if not self.download and not (root / self.files).is_dir():
            raise DataError(
                f"{self.name}: there are no images in {folder}/{{train,test}}/<class> "
                f"and no official files in {root / self.files}",
                tip="download=true fetches the official files; "
                "MMX_DATA_DIR=<folder> sets the folder of the data",
            )
        try:
            # torchvision prints its progress to stdout, which belongs to mmx's own output.
            with contextlib.redirect_stdout(sys.stderr):
                train, train_labels, classes = self.read_official("train")
                test, test_labels, _ = self.read_official("test")
        except (RuntimeError, OSError) as error:
            raise DataError(
                f"{self.name}: the official files in {root} cannot be used: {error}",
                tip=f"remove {root / self.files} and fetch it again with download=true",
            ) from error
        return Samples(
            {"image": ImageColumn(np.concatenate([train, test]))},
            np.array([*train_labels, *test_labels], dtype=np.int64),
            tuple(classes),
            {
                "train": np.arange(len(train)),
                "test": np.arange(len(train), len(train) + len(test)),
            },
        )
