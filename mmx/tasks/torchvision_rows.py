"""The rows of torchvision's data sets, with images that are files left undecoded."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

Images = npt.NDArray[np.uint8] | list[Path | bytes]
"""An array ``(N, H, W)`` or ``(N, H, W, 3)``, or a file of each row, or its content."""


def list_set_rows(data: Any) -> tuple[Images, list[int], list[str]]:
    """Return images, labels and class names of a data set of images with one class each.

    Open it with ``loader=str`` where it has that option: then its rows are paths.

    Args:
        data: Of torchvision: ``data[i]`` is an image and a class, ``len(data)`` its rows.

    Raises:
        ValueError: A file is absent, or a row has no class.
    """
    images: list[Any] = []
    labels: list[int] = []
    for row in range(len(data)):
        image, label = data[row]
        if not _is_whole(label):
            raise ValueError(f"row {row + 1} has no class, but {label!r}")
        images.append(_find_source(image))
        labels.append(int(label))
    for image in images:
        if isinstance(image, Path) and not image.is_file():
            raise ValueError(f"{image} is missing")
    return _stack(images), labels, _name_classes(data, labels)


def join_class_names(parts: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the class names of several splits, of which a class has one index in all of them.

    Where classes are called by their numbers, a split may lack the last of them.

    Raises:
        ValueError: A number stands for different classes.
    """
    longest = max(parts, key=len)
    for part in parts:
        for number, (name, other) in enumerate(zip(part, longest, strict=False)):
            if name != other:
                raise ValueError(f"class {number} is {other} in one split and {name} in another")
    return tuple(longest)


def join_images(parts: Sequence[Images]) -> Images:
    """Return the images of several splits as one array, or as one list."""
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if len(arrays) == len(parts) and len({part.shape[1:] for part in arrays}) == 1:
        return np.concatenate(arrays)
    return [image for part in parts for image in _write_all(part)]


def _is_whole(label: Any) -> bool:
    try:
        return bool(int(label) == label)
    except (TypeError, ValueError, RuntimeError):  # several numbers, a picture
        return False


def _find_source(image: Any) -> Path | npt.NDArray[np.uint8]:
    """Return the file of an image if that is known, else its pixels."""
    if isinstance(image, (str, Path)):
        return Path(image)
    if file := getattr(image, "filename", ""):  # PIL has opened it and not decoded it
        image.close()
        return Path(file)
    return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))


def _stack(images: list[Any]) -> Images:
    """Return images of one size as an array; of others the content of lossless files."""
    if all(isinstance(image, Path) for image in images):
        return images
    shapes = {image.shape for image in images if isinstance(image, np.ndarray)}
    if len(shapes) == 1 and all(isinstance(image, np.ndarray) for image in images):
        return np.stack(images)
    return _write_all(images)


def _write_all(images: Iterable[Any]) -> list[Path | bytes]:
    """Return pixels as the content of lossless files, and files as they are."""
    return [_write_png(each) if isinstance(each, np.ndarray) else each for each in images]


def _write_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, format="png")
    return file.getvalue()


def _name_classes(data: Any, labels: list[int]) -> list[str]:
    """Return the names of classes in index order; their numbers where there are none."""
    names = getattr(data, "classes", None) or getattr(data, "categories", None)
    if getattr(data, "_target_types", None) == ["binary-category"]:  # of OxfordIIITPet
        names = data.bin_classes
    if names is None:
        return [str(label) for label in range(max(labels, default=-1) + 1)]
    return [name if isinstance(name, str) else str(name[0]) for name in names]
