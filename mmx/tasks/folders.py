"""Pictures in one folder a class."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmx.errors import DataError
from mmx.modalities.image import ImageColumn
from mmx.tasks.base import Samples

PICTURES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
)


@dataclass(frozen=True)
class Folder:
    """Pictures of one split: class to its files, sorted; and how many files are none."""

    files: dict[str, list[Path]]
    others: int


def list_folder(path: Path) -> Folder:
    """Return the pictures below ``path``, one folder a class; hidden files do not count.

    Raises:
        DataError: There is no class folder, or one without any picture.
    """
    files: dict[str, list[Path]] = {}
    others = 0
    for folder in sorted(_entries(path, folders=True)):
        names = _entries(path / folder, folders=False)
        pictures = sorted(name for name in names if Path(name).suffix.lower() in PICTURES)
        if not pictures:
            raise DataError(
                f"{path / folder} holds no picture; accepted: {', '.join(sorted(PICTURES))}",
                tip="every folder here is taken as a class: remove those that are none",
            )
        others += len(names) - len(pictures)
        files[folder] = [path / folder / name for name in pictures]
    if not files:
        raise DataError(
            f"{path} holds no folder; pictures are expected in one folder a class",
            tip=f"move them to {path}/<class>/<picture>",
        )
    return Folder(files, others)


def samples_of(splits: Mapping[str, Folder]) -> Samples:
    """Return the pictures of all splits in one column; classes in the order of the alphabet."""
    classes = sorted({name for folder in splits.values() for name in folder.files})
    pictures: list[Path] = []
    labels: list[int] = []
    rows = {}
    for split, folder in splits.items():
        start = len(pictures)
        for name, paths in folder.files.items():
            pictures += paths
            labels += [classes.index(name)] * len(paths)
        rows[split] = np.arange(start, len(pictures), dtype=np.int64)
    others = sum(folder.others for folder in splits.values())
    notes = (f"{others} files that are no pictures were passed over",) if others else ()
    values = np.array(labels, dtype=np.int64)
    return Samples({"image": ImageColumn(pictures)}, values, tuple(classes), rows, notes)


def _entries(path: Path, *, folders: bool) -> list[str]:
    """Return the names of the visible folders, or of the visible files, of a folder."""
    with os.scandir(path) as found:
        return [
            entry.name
            for entry in found
            if not entry.name.startswith(".") and entry.is_dir() == folders
        ]
