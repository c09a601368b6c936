"""Images in one folder for each class; files that are not read are counted."""

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
from mmx.tasks.split_names import find_split
from mmx.tasks.splits import SplitRows


@dataclass
class SplitFolder:
    """The images of one split, and the other files in its folder.

    Attributes:
        path: The folder.
        files: Class to its images, sorted.
        deep: Those of the images that lie in a subfolder of their class.
        loose: Number of images in no class.
        hidden: Number of hidden images, and of images in hidden folders.
        others: Suffix to the number of visible files that are not images.
    """

    path: Path
    files: dict[str, list[Path]] = field(default_factory=dict)
    deep: list[Path] = field(default_factory=list)
    loose: int = 0
    hidden: int = 0
    others: Counter[str] = field(default_factory=Counter)


def list_folder(path: Path) -> SplitFolder:
    """Return the images in ``path``, which has one folder for each class.

    Images in subfolders of a class belong to that class.

    Raises:
        DataError: There is no class folder, or some have no image, or one has none directly in
            it or contains splits.
    """
    folder = SplitFolder(path)
    folder.loose = len(_sort_out(folder, path))
    empty = []
    for name in list_visible_folders(path):
        direct = _sort_out(folder, path / name)
        below = [image for deep in _walk_folders(path / name) for image in _sort_out(folder, deep)]
        _check_class(path / name, direct, below)
        if not direct:
            empty.append(path / name)
        folder.files[name] = sorted(direct, key=lambda file: file.name) + sorted(below)
        folder.deep += below
    folder.hidden = count_images(path, hidden=True)
    if empty:
        _refuse_empty(empty)
    if not folder.files:
        loose = f" but {folder.loose} images" if folder.loose else ""
        raise DataError(
            f"{path} holds no folder{loose}; images are expected in one folder for each class",
            tip=f"move them to {path}/<class>/<image>",
        )
    return folder


def collect_samples(splits: Mapping[str, SplitFolder]) -> Samples:
    """Return the images of all splits in one column, with classes in alphabetical order."""
    classes = sorted({name for folder in splits.values() for name in folder.files})
    images: list[Path] = []
    labels: list[int] = []
    rows: dict[str, SplitRows] = {}
    for split, folder in splits.items():
        start = len(images)
        for name, paths in folder.files.items():
            images += paths
            labels += [classes.index(name)] * len(paths)
        rows[split] = np.arange(start, len(images), dtype=np.int64)
    values = np.array(labels, dtype=np.int64)
    notes = _note_omissions(list(splits.values()))
    return Samples({"image": ImageColumn(images)}, values, tuple(classes), rows, notes)


def list_visible_folders(path: Path) -> list[str]:
    """Return the sorted names of the visible folders in a folder."""
    # scandir knows the type of an entry without another call: folders may hold 10⁵ files.
    with os.scandir(path) as found:
        return sorted(entry.name for entry in found if entry.is_dir() and not is_hidden(entry.name))


def count_images(path: Path, *, hidden: bool = False) -> int:
    """Return the number of images in a folder and its subfolders.

    Args:
        path: The folder.
        hidden: Count only images that are hidden or in hidden folders; otherwise only others.
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


def _sort_out(folder: SplitFolder, path: Path) -> list[Path]:
    """Return the images directly in ``path``; count the other files."""
    images = []
    for file in list_direct_files(path):
        if counts_as(file, "image"):
            images.append(file)
        else:
            folder.others[file.suffix.lower() or file.name] += 1
    return images


def _walk_folders(path: Path) -> Iterator[Path]:
    """Yield the visible subfolders at any depth, but no links, which could lead to a cycle."""
    for name in list_visible_folders(path):
        if not (path / name).is_symlink():
            yield path / name
            yield from _walk_folders(path / name)


def _check_class(path: Path, direct: list[Path], below: list[Path]) -> None:
    splits = [name for name in list_visible_folders(path) if find_split(name)]
    if splits and below:
        train = [name for name in splits if find_split(name) == "train"]
        whole = any(list_visible_folders(path / name) for name in train)  # classes lie in it
        raise DataError(
            f"{path} holds a folder '{splits[0]}', which is the name of a split; "
            "the folders of splits must be above those of the classes",
            tip=type_task_option("path", str(path))
            if whole
            else f"move the images to {path.parent / splits[0] / path.name}",
        )
    if below and not direct:
        first = min(below).parent
        raise DataError(
            f"{path} holds no image, but its subfolders hold {len(below)}, such as {first}; "
            "images are expected in <class>/<image>",
            tip=f"target.path={path} if that folder holds the classes, or move the images up",
        )


def _refuse_empty(folders: list[Path]) -> None:
    """Raise an error that names all folders without any image."""
    many = len(folders) > 1
    which = f"{len(folders)} folders hold" if many else f"{folders[0]} holds"
    names = f": {list_names([str(folder) for folder in folders], 10)}" if many else ""
    raise DataError(
        f"{which} no image{names}; accepted: {', '.join(sorted(IMAGES))}",
        tip="every folder here is read as a class: remove those that are not",
    )


def _note_omissions(folders: list[SplitFolder]) -> tuple[str, ...]:
    """Return notes on files that were left out, and on images in subfolders of their class."""
    notes = []
    others: Counter[str] = sum((folder.others for folder in folders), Counter())
    if others:
        kinds = list_names([kind for kind, _ in others.most_common()], 5)
        notes.append(f"{others.total()} files that are not images were left out ({kinds})")
    if hidden := sum(folder.hidden for folder in folders):
        notes.append(f"{hidden} hidden images were left out")
    notes += [
        f"{folder.loose} images directly in {folder.path} belong to no class and were left out"
        for folder in folders
        if folder.loose
    ]
    if deep := [image for folder in folders for image in folder.deep]:
        notes.append(
            f"{len(deep)} images lie in subfolders of their class, such as {deep[0].parent}, "
            "and count for that class"
        )
    return tuple(notes)
