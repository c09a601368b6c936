"""Images: stored as RGB uint8, given to encoders as floats in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from pydantic import Field
from torch import Tensor

from mmx.errors import DataError
from mmx.modalities.augmentations import AUGMENTATIONS, Augmentation, AugmentationName
from mmx.modalities.augmentations.crop_flip import CropFlip
from mmx.modalities.base import (
    Modality,
    RowNumbers,
    Spec,
    Stored,
    as_rows,
)
from mmx.modalities.files import FileOrBytes, call_each
from mmx.modalities.image_remarks import note_images
from mmx.modalities.pixels import (
    MOST_PIXELS,
    USUAL,
    Background,
    Decoding,
    read_pixels,
    resize_bilinear,
)
from mmx.modalities.source_column import SourceColumn
from mmx.quoting import type_override
from mmx.stage_id import Role

PixelCount = Annotated[int, Field(ge=1, le=8_192)]
SCALE = 1.5
"""Ratio of sides from which images count as being of different scales."""
COMMON_CROP = 16
"""The largest crop of the tasks by name; that of a source is not known to the target's images."""


@dataclass(frozen=True)
class ImageSpec(Spec):
    """The size of all images, in pixels.

    Attributes:
        height: H.
        width: W.
    """

    height: int
    width: int


class ImageColumn(SourceColumn):
    """Images as files, as their content, or as an array.

    Args:
        images: For each row a path, or the bytes of a file, or None where it has no image; or
            an array ``(N, H, W)`` grey or ``(N, H, W, 3)`` RGB, uint8.
    """

    what = "image"

    def __init__(self, images: Sequence[FileOrBytes | None] | npt.NDArray[np.uint8]) -> None:
        super().__init__(images)
        self.images = images


class Image(Modality[ImageColumn, ImageSpec]):
    """RGB images of one size.

    Use it for a column of image files or for an array of pixels.

    Args:
        size: Side in pixels of a square, or (height, width); other sizes are resized
            (bilinear, antialiased, without keeping the aspect ratio). None: the size of the
            first training image.
        crop: In training, shift each image by up to this many pixels in both
            directions; the border is filled by reflection.
        flip: In training, mirror half of the images from left to right.
        augment: In training, change images by this augmentation, after ``crop`` and ``flip``:
            ``rand`` or ``trivial`` as in torchvision; ``crop_flip``, by ``crop`` pixels or an
            eighth of the shorter side; ``none``, no change, also no ``crop`` and ``flip``. None:
            by ``crop`` and ``flip`` alone.
        background: What transparent pixels are laid on.
        max_pixels: Width times height of the largest image that is read; a larger one is
            refused, since a small file can unfold to fill the memory.

    Raises:
        ValueError: ``crop`` is not smaller than ``size``.
    """

    name = "image"
    streams = True
    column_type = ImageColumn

    def __init__(
        self,
        *,
        size: PixelCount | tuple[PixelCount, PixelCount] | None = 32,
        crop: Annotated[int, Field(ge=0, le=8_192)] = 0,
        flip: bool = False,
        augment: AugmentationName | Augmentation | None = None,
        background: Background = "white",
        max_pixels: Annotated[int, Field(ge=1, le=2**31)] = MOST_PIXELS,
    ) -> None:
        self.size = (size, size) if isinstance(size, int) else size
        self.crop = crop
        self.flip = flip
        self.augmentation = augment
        self.decoding = Decoding(background, max_pixels)
        if self.size is not None and crop >= min(self.size):
            raise ValueError(
                f"`crop` (={crop}) must be smaller than the shorter side of `size` (={size})"
            )

    def fit(self, column: ImageColumn, rows: RowNumbers) -> ImageSpec:
        """Return the configured size, or the size of the first training image."""
        if self.size is not None:
            return ImageSpec(*self.size)
        for row in as_rows(rows):
            if column.present[row]:
                height, width = read_image(column, int(row), None, self.decoding).shape[:2]
                if self.crop >= min(height, width):
                    raise DataError(
                        f"crop={self.crop} is not smaller than the first training image, "
                        f"{height}×{width} pixels",
                        tip="give a smaller crop, or a size such as 32",
                    )
                return ImageSpec(height, width)
        raise DataError(
            "size=null takes the size of the first training image, but no training row has one",
            tip="give the image a size, in pixels, such as 32",
        )

    def encode(self, column: ImageColumn, rows: RowNumbers, spec: ImageSpec) -> Stored:
        """Return ``(B, H, W, 3)`` uint8."""
        rows = as_rows(rows)
        size = (spec.height, spec.width)
        values = np.zeros((len(rows), *size, 3), dtype=np.uint8)
        array = column.images
        if isinstance(array, np.ndarray) and array.shape[1:3] == size:
            # Grey (N, H, W) is broadcast to three channels.
            values[:] = array[rows] if array.ndim == 4 else array[rows][..., None]
            return Stored(torch.from_numpy(values))

        def decode(i: int) -> None:
            row = int(rows[i])
            if column.present[row]:
                values[i] = read_image(column, row, size, self.decoding)

        call_each(decode, len(rows))
        return Stored(torch.from_numpy(values))

    def example(self) -> ImageSpec:
        """Return the configured size, or 32 pixels."""
        size = self.size if self.size is not None else 32
        return ImageSpec(*((size, size) if isinstance(size, int) else size))

    def other_scale(self, spec: ImageSpec, source: ImageSpec) -> str | None:
        """Return a sentence on the sizes if sides differ 1.5-fold; see :class:`Modality`."""
        sides = ((spec.height, source.height), (spec.width, source.width))
        if all(max(pair) < SCALE * min(pair) for pair in sides):
            return None
        return (
            f"the source's images are {source.height}×{source.width} pixels, the target's "
            f"{spec.height}×{spec.width}, so objects may differ in size too: "
            f"{_type_size(Role.TARGET, source, self.crop)} or "
            f"{_type_size(Role.SOURCE, spec, COMMON_CROP)} makes them alike"
        )

    def bytes_per_row(self, spec: ImageSpec) -> int:
        """Return H · W · 3."""
        return spec.height * spec.width * 3

    def remarks(self, column: ImageColumn, rows: RowNumbers, spec: ImageSpec) -> tuple[str, ...]:
        """Return notes on dark, transparent, animated and coloured images among some of the rows.

        Raises nothing: decoding an image that cannot be read raises an error that names it.
        """
        files = [
            source
            for row in as_rows(rows)
            if isinstance(source := column.images[int(row)], FileOrBytes)
        ]
        return note_images(files, self.decoding)

    def augment(self, stored: Stored) -> Stored:
        """Return each image changed at random; see :mod:`mmx.modalities.augmentations`."""
        values = stored.values  # (B, H, W, 3)
        for change in self._list_augmentations():
            values = change(values)
        return stored if values is stored.values else Stored(values, stored.lengths)

    def _list_augmentations(self) -> list[Augmentation]:
        """Return what changes training images, in order."""
        named = self.augmentation
        if named == "none":
            return []
        if named == "crop_flip":
            return [CropFlip(crop=self.crop or None)]
        moves = [CropFlip(crop=self.crop, flip=self.flip)] if self.crop or self.flip else []
        if named is None:
            return [*moves]
        return [*moves, AUGMENTATIONS[named]() if isinstance(named, str) else named]

    def note_unaugmented(self, role: Role) -> str:
        """Return that an augmentation that was asked for changes nothing; "" without one."""
        if self.augmentation in (None, "none"):
            return ""
        return (
            "image: the features of its frozen encoder are computed once, without augmentation, so "
            f"that {role}.image.augment changes nothing here ({role}.image.augment=none says so)"
        )

    def prepare(self, stored: Stored, spec: ImageSpec) -> Tensor:
        """Return ``(B, 3, H, W)`` float32 in [0, 1], in channels-last memory format."""
        # A permuted view of (B, H, W, 3) is channels-last as it lies: no copy for the layout.
        return stored.values.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def _type_size(role: Role, spec: ImageSpec, crop: int) -> str:
    """Return what gives a task's images a size, and a smaller crop where its own is too large."""
    square = spec.height == spec.width
    size = type_override(f"{role}.image.size", spec.height if square else [spec.height, spec.width])
    shorter = min(spec.height, spec.width)
    return size if crop < shorter else f"{size} {role}.image.crop={shorter // 8}"


def find_decoding(reader: Modality[Any, Any] | None) -> Decoding:
    """Return how a reader decodes images; the usual way where it is not known."""
    return reader.decoding if isinstance(reader, Image) else USUAL


def read_image(
    column: ImageColumn,
    row: int,
    size: tuple[int, int] | None,
    decoding: Decoding = USUAL,
) -> npt.NDArray[np.uint8]:
    """Return the image of one row as ``(H, W, 3)``."""
    image = column.images[row]
    if isinstance(image, FileOrBytes):
        return read_pixels(image, column.name_row(row), size, decoding)
    return np.asarray(resize_bilinear(PIL.Image.fromarray(np.asarray(image)).convert("RGB"), size))
