"""Your own images, in one folder for each class."""

import difflib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mmx.errors import DataError
from mmx.modalities import Modality
from mmx.modalities.image import Image
from mmx.modalities.suffixes import counts_as
from mmx.tasks.base import CutTask, Samples, type_task_option
from mmx.tasks.folders import (
    collect_samples,
    count_images,
    list_direct_files,
    list_folder,
    list_visible_folders,
)
from mmx.tasks.split_names import SPLITS, find_split
from mmx.tasks.unusable import leave_out_unusable

NEAR = 0.8
"""Similarity, from 0 to 1, from which a folder has a misspelt name of a split."""


@dataclass(kw_only=True, eq=False)
class ImageFolder(CutTask):
    """Images in ``{train,val,test}/<class>/`` or, without splits, in ``<class>/``.

    Use it for images with one class each; use ``table`` for anything else.

    The folders of splits may have other common names, such as ``valid``, ``Testing``, ``eval``
    (which is test) or ``train_images``. One that is nearly such a name is refused.
    ``val`` and ``test`` are cut from the training rows if they are absent. Files that are not
    read are noted.

    Args:
        path: The folder with ``{train,val,test}/<class>/`` or ``<class>/`` in it.
        test_fraction: Share of the rows in ``test`` if there is none, the same rows for every
            seed.
        unusable: Whether to refuse an image that cannot be decoded, or to drop it and count it.
        image: How the images are decoded.
    """

    path: str
    unusable: Literal["refuse", "drop"] = "refuse"
    image: Image = field(default_factory=Image)

    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        """The image."""
        return {"image": self.image}

    def read(self) -> Samples:
        """Return images and the names of their folders."""
        path = Path(self.path).expanduser()
        if not path.is_dir():
            raise DataError(
                f"{self.name}: there is no folder {path}",
                tip=type_task_option("path", "<folder of class folders>"),
            )
        folders = find_split_folders(path)
        if folders:
            samples = collect_samples({split: list_folder(path) for split, path in folders.items()})
            samples = replace(samples, notes=(*samples.notes, *_note_omissions(path, folders)))
        else:
            samples = collect_samples({"train": list_folder(path)})
        if self.unusable == "drop":
            return leave_out_unusable(samples, self.modalities)
        return samples


def find_split_folders(path: Path) -> dict[str, Path]:
    """Return the folder of each split in ``path``; empty if its folders are the classes.

    Raises:
        DataError: Two folders are the same split, or there are splits but none for training.
    """
    found: dict[str, Path] = {}
    for name in list_visible_folders(path):
        split = find_split(name)
        if split is None:
            continue
        if split in found:
            raise DataError(
                f"{found[split]} and {path / name} are both the {split} split",
                tip="move the images of one into the other, or rename it",
            )
        found[split] = path / name
    order = ("train", "val", "test")
    splits: dict[str, Path] = {name: found[name] for name in order if name in found}
    if not splits or _are_classes(path, splits):
        return {}
    if "train" not in splits:
        raise DataError(
            f"{path} holds {', '.join(folder.name for folder in splits.values())}, "
            "but no folder train",
            tip=f"move the images to train on to {path}/train/<class>/<image>",
        )
    _refuse_misspelt(path, splits)
    return splits


def _refuse_misspelt(path: Path, splits: dict[str, Path]) -> None:
    """Refuse folders of images with names that are nearly those of splits which are not there.

    Raises:
        DataError: There are such folders; the message names all of them.
    """
    others = [
        (name, SPLITS[near])
        for name in list_visible_folders(path)
        if find_split(name) is None
        for near in difflib.get_close_matches(name.lower(), SPLITS, n=1, cutoff=NEAR)
        if SPLITS[near] not in splits and count_images(path / name)
    ]
    if others:
        said = ", ".join(f"{path / name} (the {split} split?)" for name, split in others)
        name, split = others[0]
        raise DataError(
            f"neither split nor class: {said}",
            tip=f"mv {path / name} {path / split}   (or move it out of {path})",
        )


def _are_classes(path: Path, splits: dict[str, Path]) -> bool:
    """Return whether the folders with names of splits are classes of that name.

    They are if they hold images and no folders, and another folder holds images too.
    """
    others = [path / name for name in list_visible_folders(path) if find_split(name) is None]
    flat = all(_holds_images(one) and not list_visible_folders(one) for one in splits.values())
    return flat and any(map(_holds_images, others))


def _holds_images(path: Path) -> bool:
    return any(counts_as(file, "image") for file in list_direct_files(path))


def _note_omissions(path: Path, folders: dict[str, Path]) -> list[str]:
    """Return notes on images outside of the splits, one for each place."""
    read = {folder.name for folder in folders.values()}
    counts = {
        name: count_images(path / name) for name in list_visible_folders(path) if name not in read
    }
    notes = [
        f"{count} images in {path / name} were left out; the splits are {', '.join(sorted(read))}"
        for name, count in counts.items()
        if count
    ]
    hidden = count_images(path, hidden=True)
    hidden -= sum(count_images(one, hidden=True) for one in folders.values())
    if hidden:
        notes.append(f"{hidden} hidden images in {path} were left out")
    if loose := sum(counts_as(file, "image") for file in list_direct_files(path)):
        notes.append(f"{loose} images directly in {path} belong to no split and were left out")
    return notes
