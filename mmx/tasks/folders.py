"""Images in one folder a class; what is not read is counted."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmx.errors import DataError
from mmx.modalities.image import ImageColumn
from mmx.modalities.suffixes import IMAGES, counts_as, is_hidden
from mmx.tasks.base import Samples, list_names, type_task_option
from mmx.tasks.split_names import split_of


@dataclass
class Folder:
    """Images of one split, and what else lies there.

    Attributes:
        path: The folder.
        files: Class to its images, sorted.
        deep: Those of them that lie in folders below their class.
        loose: Images that lie in no class.
        hidden: Images that are hidden, or lie in hidden folders.
        others: Suffix to how many visible files are no images.
    """

    path: Path
    files: dict[str, list[Path]] = field(default_factory=dict)
    deep: list[Path] = field(default_factory=list)
    loose: int = 0
    hidden: int = 0
    others: Counter[str] = field(default_factory=Counter)


def list_folder(path: Path) -> Folder:
    """Return the images below ``path``, one folder a class.

    Images in folders below a class count as of that class.

    Raises:
        DataError: There is no class folder, or one without any image of its own, or one
            that holds splits.
    """
    folder = Folder(path)
    folder.loose = len(_sort_out(folder, path))
    for name in list_visible_folders(path):
        direct = _sort_out(folder, path / name)
        below = [image for deep in _below(path / name) for image in _sort_out(folder, deep)]
        _check_class(path / name, direct, below)
        folder.files[name] = sorted(direct, key=lambda file: file.name) + sorted(below)
        folder.deep += below
    folder.hidden = count_images(path, hidden=True)
    if not folder.files:
        loose = f" but {folder.loose} images" if folder.loose else ""
        raise DataError(
            f"{path} holds no folder{loose}; images are expected in one folder a class",
            tip=f"move them to {path}/<class>/<image>",
        )
    return folder


def collect_samples(splits: Mapping[str, Folder]) -> Samples:
    """Return the images of all splits in one column; classes in the order of the alphabet."""
    classes = sorted({name for folder in splits.values() for name in folder.files})
    images: list[Path] = []
    labels: list[int] = []
    rows = {}
    for split, folder in splits.items():
        start = len(images)
        for name, paths in folder.files.items():
            images += paths
            labels += [classes.index(name)] * len(paths)
        rows[split] = np.arange(start, len(images), dtype=np.int64)
    values = np.array(labels, dtype=np.int64)
    notes = _notes(list(splits.values()))
    return Samples({"image": ImageColumn(images)}, values, tuple(classes), rows, notes)


def list_visible_folders(path: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, without hidden ones."""
    with os.scandir(path) as found:
        return sorted(entry.name for entry in found if entry.is_dir() and not is_hidden(entry.name))


def count_images(path: Path, *, hidden: bool = False) -> int:
    """Return how many images lie at any depth below a folder.

    Args:
        path: The folder.
        hidden: Count those that are hidden or in hidden folders, else the others.
    """
    count = 0
    for at, _, names in os.walk(path):
        inside = any(is_hidden(part) for part in Path(at).relative_to(path).parts)
        count += sum(
            (inside or is_hidden(name)) == hidden and counts_as(Path(name), "image")
            for name in names
        )
    return count


def list_direct_files(path: Path) -> list[Path]:
    """Return the visible files directly in a folder."""
    with os.scandir(path) as found:
        return [path / e.name for e in found if not e.is_dir() and not is_hidden(e.name)]


def _sort_out(folder: Folder, path: Path) -> list[Path]:
    """Return the images directly in ``path``; count the other files."""
    images = []
    for file in list_direct_files(path):
        if counts_as(file, "image"):
            images.append(file)
        else:
            folder.others[file.suffix.lower() or file.name] += 1
    return images


def _below(path: Path) -> Iterator[Path]:
    """Yield the visible folders at any depth; links are not followed, since they may go up."""
    for name in list_visible_folders(path):
        if not (path / name).is_symlink():
            yield path / name
            yield from _below(path / name)


def _check_class(path: Path, direct: list[Path], below: list[Path]) -> None:
    splits = [name for name in list_visible_folders(path) if split_of(name)]
    if splits and below:
        train = [name for name in splits if split_of(name) == "train"]
        whole = any(list_visible_folders(path / name) for name in train)  # classes lie in it
        raise DataError(
            f"{path} holds a folder '{splits[0]}', which is the name of a split; "
            "splits are expected above the classes",
            tip=type_task_option("path", str(path))
            if whole
            else f"move the images to {path.parent / splits[0] / path.name}",
        )
    if below and not direct:
        first = min(below).parent
        raise DataError(
            f"{path} holds no image itself, but {len(below)} below it, such as in {first}; "
            "images are expected in <class>/<image>",
            tip=f"target.path={path} where that folder holds the classes, or move the images up",
        )
    if not direct:
        raise DataError(
            f"{path} holds no image; accepted: {', '.join(sorted(IMAGES))}",
            tip="every folder here is taken as a class: remove those that are none",
        )


def _notes(folders: list[Folder]) -> tuple[str, ...]:
    """Return what was left out, and what was taken from deeper folders, one line each."""
    notes = []
    others: Counter[str] = sum((folder.others for folder in folders), Counter())
    if others:
        kinds = list_names([kind for kind, _ in others.most_common()], 5)
        notes.append(f"{others.total()} files that are no images were left out ({kinds})")
    if hidden := sum(folder.hidden for folder in folders):
        notes.append(f"{hidden} hidden images were left out")
    notes += [
        f"{folder.loose} images directly in {folder.path} belong to no class and were left out"
        for folder in folders
        if folder.loose
    ]
    if deep := [image for folder in folders for image in folder.deep]:
        notes.append(
            f"{len(deep)} images lie in folders below their class, such as {deep[0].parent}, "
            "and count as of that class"
        )
    return tuple(notes)
