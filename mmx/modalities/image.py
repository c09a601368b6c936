"""Pictures: RGB uint8 while stored, float in [0, 1] when an encoder reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
import torch
from pydantic import Field
from torch import Tensor

from mmx.errors import DataError
from mmx.modalities.base import Column, Modality, Rows, Spec, Stored, as_rows
from mmx.modalities.files import each, read_bytes, unreadable

Pixels = Annotated[int, Field(ge=1)]
SCALE = 1.5
"""Times by which a side is longer for pictures to be of another scale."""


@dataclass(frozen=True)
class ImageSpec(Spec):
    """The size of every picture, in pixels.

    Attributes:
        height: H.
        width: W.
    """

    height: int
    width: int


class ImageColumn(Column):
    """Pictures as files or as an array.

    Args:
        pictures: One path a row, None where the row has no picture; or ``(N, H, W)``
            grey or ``(N, H, W, 3)`` RGB uint8.
    """

    def __init__(self, pictures: Sequence[Path | None] | npt.NDArray[np.uint8]) -> None:
        self.pictures = pictures
        self.present = np.array([picture is not None for picture in pictures], dtype=np.bool_)

    def digest(self, row: int) -> bytes:
        """Return the file's bytes, or shape and pixels."""
        picture = self.pictures[row]
        if picture is None:
            return b""
        if isinstance(picture, Path):
            return read_bytes("picture", picture, row)
        return str(picture.shape).encode() + bytes(picture.tobytes())


class Image(Modality[ImageColumn, ImageSpec]):
    """Pictures of one size, as RGB.

    Args:
        size: Side in pixels of a square, or (height, width); other sizes are resized
            (bilinear, antialiased, without keeping the aspect). None keeps the size of
            the first training picture.
        crop: In training, shift each picture by up to this many pixels in both
            directions; the border is filled by reflection.
        flip: In training, mirror half of the pictures left to right.

    Raises:
        ValueError: ``crop`` is not smaller than ``size``.
    """

    name = "image"
    streams = True

    def __init__(
        self,
        *,
        size: Pixels | tuple[Pixels, Pixels] | None = 32,
        crop: Annotated[int, Field(ge=0)] = 0,
        flip: bool = False,
    ) -> None:
        self.size = (size, size) if isinstance(size, int) else size
        self.crop = crop
        self.flip = flip
        if self.size is not None and crop >= min(self.size):
            raise ValueError(
                f"`crop` (={crop}) must be smaller than the shorter side of `size` (={size})"
            )

    def fit(self, column: ImageColumn, rows: Rows) -> ImageSpec:
        """Return the configured size, or that of the first training picture."""
        if self.size is not None:
            return ImageSpec(*self.size)
        for row in as_rows(rows):
            if column.present[row]:
                height, width = _pixels(column, int(row), None).shape[:2]
                if self.crop >= min(height, width):
                    raise DataError(
                        f"crop={self.crop} is not smaller than the first training picture, "
                        f"{height}×{width} pixels",
                        tip="give a smaller crop, or a size such as 32",
                    )
                return ImageSpec(height, width)
        raise DataError(
            "size=null takes the size of the first training picture, but no training row has one",
            tip="give the image a size, in pixels, such as 32",
        )

    def encode(self, column: ImageColumn, rows: Rows, spec: ImageSpec) -> Stored:
        """Return ``(B, H, W, 3)`` uint8."""
        rows = as_rows(rows)
        size = (spec.height, spec.width)
        values = np.zeros((len(rows), *size, 3), dtype=np.uint8)
        array = column.pictures
        if isinstance(array, np.ndarray) and array.shape[1:3] == size:
            values[:] = array[rows] if array.ndim == 4 else array[rows][..., None]
            return Stored(torch.from_numpy(values))

        def decode(i: int) -> None:
            row = int(rows[i])
            if column.present[row]:
                values[i] = _pixels(column, row, size)

        each(decode, len(rows))
        return Stored(torch.from_numpy(values))

    def example(self) -> ImageSpec:
        """Return pictures of the size asked for, or of 32 pixels."""
        size = self.size if self.size is not None else 32
        return ImageSpec(*((size, size) if isinstance(size, int) else size))

    def other_scale(self, spec: ImageSpec, source: ImageSpec) -> str | None:
        """Return the sizes, where a side is 1.5 times the other's; see :class:`Modality`."""
        sides = ((spec.height, source.height), (spec.width, source.width))
        if all(max(pair) < SCALE * min(pair) for pair in sides):
            return None
        return (
            f"the source's pictures are {source.height}×{source.width} pixels, the target's "
            f"{spec.height}×{spec.width}, and what they show may be of other sizes too: "
            f"target.image.size={_typed(source)} or source.image.size={_typed(spec)} makes them "
            "alike"
        )

    def bytes_per_row(self, spec: ImageSpec) -> int:
        """Return H · W · 3."""
        return spec.height * spec.width * 3

    def augment(self, stored: Stored) -> Stored:
        """Return each picture shifted and perhaps mirrored, in one gather.

        Reflection is done on the indices, so nothing is padded.
        """
        if not self.crop and not self.flip:
            return stored
        values = stored.values  # (B, H, W, 3)
        batch, height, width, channels = values.shape
        device = values.device
        y = torch.arange(height, device=device).expand(batch, height)
        x = torch.arange(width, device=device).expand(batch, width)
        if self.flip:
            mirror = torch.rand(batch, 1, device=device) < 0.5
            x = torch.where(mirror, x.flip(1), x)
        if self.crop:
            shift = torch.randint(-self.crop, self.crop + 1, (2, batch, 1), device=device)
            y = _reflect(y + shift[0], height)
            x = _reflect(x + shift[1], width)
        first = torch.arange(batch, device=device).view(-1, 1, 1) * (height * width)
        pixel = first + y.unsqueeze(2) * width + x.unsqueeze(1)  # (B, H, W)
        flat = values.reshape(-1, channels).index_select(0, pixel.reshape(-1))
        return Stored(flat.view(values.shape), stored.lengths)

    def prepare(self, stored: Stored, spec: ImageSpec) -> Tensor:
        """Return ``(B, 3, H, W)`` float32 in [0, 1], channels last in memory."""
        return stored.values.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def _reflect(index: Tensor, length: int) -> Tensor:
    """Mirror indices that lie outside of [0, length) at the border, without repeating it."""
    last = length - 1
    return last - (last - index.abs()).abs()


def _typed(spec: ImageSpec) -> str:
    """Return a size as one would type it."""
    square = spec.height == spec.width
    return str(spec.height) if square else f"[{spec.height},{spec.width}]"


def _pixels(column: ImageColumn, row: int, size: tuple[int, int] | None) -> npt.NDArray[np.uint8]:
    """Return one picture as ``(H, W, 3)``."""
    path = column.pictures[row]
    if not isinstance(path, Path):
        return np.asarray(_resized(PIL.Image.fromarray(np.asarray(path)).convert("RGB"), size))
    try:
        with PIL.Image.open(path) as image:
            if size is not None:
                # A big JPEG decodes faster at 1/2, 1/4 or 1/8 of its size. A square is
                # asked for, since EXIF may turn the picture.
                image.draft("RGB", (max(size), max(size)))
            if image.getexif().get(PIL.ExifTags.Base.Orientation, 1) != 1:
                PIL.ImageOps.exif_transpose(image, in_place=True)
            return np.asarray(_resized(_rgb(image), size))
    except PIL.UnidentifiedImageError as error:
        raise unreadable("picture", path, row, "not a picture format that Pillow knows") from error
    except Exception as error:  # Pillow's decoders raise many kinds on a broken file
        raise unreadable("picture", path, row, error) from error


def _rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return the picture as RGB: 16-bit grey scaled to 8, transparent pixels on white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return PIL.Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = PIL.Image.new("RGBA", rgba.size, "white")
        return PIL.Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _resized(image: PIL.Image.Image, size: tuple[int, int] | None) -> PIL.Image.Image:
    if size is None or image.size == (size[1], size[0]):
        return image
    return image.resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR)
