"""Images: RGB uint8 while stored, float in [0, 1] when an encoder reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from pydantic import Field
from torch import Tensor

from mmx.errors import DataError
from mmx.modalities.base import Column, Modality, RowNumbers, Spec, Stored, as_rows
from mmx.modalities.files import FileOrBytes, call_each, read_file
from mmx.modalities.pixels import count_bits, is_deep, open_image, read_pixels, resize

PixelCount = Annotated[int, Field(ge=1, le=8_192)]
LOOKED_AT = 16  # training images looked at for a remark
SCALE = 1.5
"""Times by which a side is longer for images to be of another scale."""


@dataclass(frozen=True)
class ImageSpec(Spec):
    """The size of every image, in pixels.

    Attributes:
        height: H.
        width: W.
    """

    height: int
    width: int


class ImageColumn(Column):
    """Images as files, as their content, or as an array.

    Args:
        images: One path, or bytes of a file, a row, None where the row has no image; or
            ``(N, H, W)`` grey or ``(N, H, W, 3)`` RGB uint8.
    """

    def __init__(self, images: Sequence[FileOrBytes | None] | npt.NDArray[np.uint8]) -> None:
        self.images = images
        self.present = np.array([image is not None for image in images], dtype=np.bool_)

    def digest(self, row: int) -> bytes:
        """Return the file's bytes, or shape and pixels."""
        image = self.images[row]
        if image is None:
            return b""
        if isinstance(image, Path | bytes):
            return read_file("image", image, row)
        return str(image.shape).encode() + bytes(image.tobytes())


class Image(Modality[ImageColumn, ImageSpec]):
    """Images of one size, as RGB.

    Args:
        size: Side in pixels of a square, or (height, width); other sizes are resized
            (bilinear, antialiased, without keeping the aspect). None keeps the size of
            the first training image.
        crop: In training, shift each image by up to this many pixels in both
            directions; the border is filled by reflection.
        flip: In training, mirror half of the images left to right.

    Raises:
        ValueError: ``crop`` is not smaller than ``size``.
    """

    name = "image"
    streams = True

    def __init__(
        self,
        *,
        size: PixelCount | tuple[PixelCount, PixelCount] | None = 32,
        crop: Annotated[int, Field(ge=0, le=8_192)] = 0,
        flip: bool = False,
    ) -> None:
        self.size = (size, size) if isinstance(size, int) else size
        self.crop = crop
        self.flip = flip
        if self.size is not None and crop >= min(self.size):
            raise ValueError(
                f"`crop` (={crop}) must be smaller than the shorter side of `size` (={size})"
            )

    def fit(self, column: ImageColumn, rows: RowNumbers) -> ImageSpec:
        """Return the configured size, or that of the first training image."""
        if self.size is not None:
            return ImageSpec(*self.size)
        for row in as_rows(rows):
            if column.present[row]:
                height, width = _pixels(column, int(row), None).shape[:2]
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
            values[:] = array[rows] if array.ndim == 4 else array[rows][..., None]
            return Stored(torch.from_numpy(values))

        def decode(i: int) -> None:
            row = int(rows[i])
            if column.present[row]:
                values[i] = _pixels(column, row, size)

        call_each(decode, len(rows))
        return Stored(torch.from_numpy(values))

    def example(self) -> ImageSpec:
        """Return images of the size asked for, or of 32 pixels."""
        size = self.size if self.size is not None else 32
        return ImageSpec(*((size, size) if isinstance(size, int) else size))

    def other_scale(self, spec: ImageSpec, source: ImageSpec) -> str | None:
        """Return the sizes, where a side is 1.5 times the other's; see :class:`Modality`."""
        sides = ((spec.height, source.height), (spec.width, source.width))
        if all(max(pair) < SCALE * min(pair) for pair in sides):
            return None
        return (
            f"the source's images are {source.height}×{source.width} pixels, the target's "
            f"{spec.height}×{spec.width}, and what they show may be of other sizes too: "
            f"target.image.size={_type_size(source)} or "
            f"source.image.size={_type_size(spec)} makes them alike"
        )

    def bytes_per_row(self, spec: ImageSpec) -> int:
        """Return H · W · 3."""
        return spec.height * spec.width * 3

    def remarks(self, column: ImageColumn, rows: RowNumbers, spec: ImageSpec) -> tuple[str, ...]:
        """Return how dark the first images are, where they use a part of 16 bits alone."""
        brightest = [
            shade
            for row in as_rows(rows)[:LOOKED_AT]
            if isinstance(source := column.images[int(row)], Path | bytes)
            and (shade := _brightest(source)) is not None
        ]
        if not brightest or max(brightest) >= 1 / 16:
            return ()
        return (
            f"image: white is 65535 in images of 16 bits, and the brightest pixel of the first "
            f"{len(brightest)} is {max(brightest) * 65535:.0f}: they are nearly black, and most "
            "of their shades fall together; scale them up where that is not meant",
        )

    def augment(self, stored: Stored) -> Stored:
        """Return each image shifted and perhaps mirrored, in one gather.

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


def _brightest(source: FileOrBytes) -> float | None:
    """Return the brightest pixel of a grey image of more than 8 bits, white being 1."""
    try:
        with open_image(source) as image:
            white = 2 ** count_bits(image) - 1
            return float(np.asarray(image).max()) / white if is_deep(image) else None
    except (OSError, ValueError, SyntaxError):  # where it is decoded, an error names the row
        return None


def _reflect(index: Tensor, length: int) -> Tensor:
    """Mirror indices that lie outside of [0, length) at the border, without repeating it."""
    last = length - 1
    return last - (last - index.abs()).abs()


def _type_size(spec: ImageSpec) -> str:
    """Return a size as one would type it."""
    square = spec.height == spec.width
    return str(spec.height) if square else f"[{spec.height},{spec.width}]"


def _pixels(column: ImageColumn, row: int, size: tuple[int, int] | None) -> npt.NDArray[np.uint8]:
    """Return one image as ``(H, W, 3)``."""
    image = column.images[row]
    if isinstance(image, Path | bytes):
        return read_pixels(image, row, size)
    return np.asarray(resize(PIL.Image.fromarray(np.asarray(image)).convert("RGB"), size))
