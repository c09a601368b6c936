"""Decoding an image file, or its bytes, to RGB of 8 bits.

The format of the file determines the value of white, never the brightest pixel of an image:

- 8 bits: 255; 1 bit: 1; 16 bits: 65535, or the value in the file (PGM's maxval, TIFF's bits);
- floats: 1.0, and an image with any pixel outside [0, 1] is refused;
- 32-bit and signed integers have no standard value of white and are refused.

Transparent pixels are placed on white.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps

from mmx.errors import DataError
from mmx.modalities.files import FileOrBytes, RowName, make_unreadable_error
from mmx.modalities.members import Member

BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
WHITE_IS_ZERO = 0
SIGNED = 2


def read_pixels(
    source: FileOrBytes, row: RowName, size: tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    """Return an image as ``(H, W, 3)``, rotated as its EXIF orientation says.

    Args:
        source: The file, or its content.
        row: The row, for messages.
        size: (height, width) to resize to; None: the size of the image.

    Raises:
        DataError: It cannot be decoded, or its value of white is unknown.
    """
    try:
        with open_image(source) as image:
            if size is not None:
                # A large JPEG decodes faster at 1/2, 1/4 or 1/8 of its size. The draft is a
                # square, since EXIF may rotate the image afterwards.
                image.draft("RGB", (max(size), max(size)))
            if image.getexif().get(PIL.ExifTags.Base.Orientation, 1) != 1:
                PIL.ImageOps.exif_transpose(image, in_place=True)
            return np.asarray(resize(as_rgb(image), size))
    except PIL.UnidentifiedImageError as error:
        why = "not an image format that Pillow knows"
        raise make_unreadable_error("image", source, row, why) from error
    except NoWhiteError as error:
        raise DataError(
            make_unreadable_error("image", source, row, error).message,
            tip="save it with 8 or 16 bits, or as floats from 0 to 1",
        ) from error
    except Exception as error:  # Pillow's decoders raise many types for a damaged file
        raise make_unreadable_error("image", source, row, error) from error


class NoWhiteError(ValueError):
    """The value of white in an image is unknown."""


def open_image(source: FileOrBytes) -> PIL.Image.Image:
    """Return the image with only its header read."""
    if isinstance(source, Member):
        source = source.read_bytes()
    return PIL.Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)


def as_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return the image as RGB of 8 bits.

    Raises:
        NoWhiteError: Its value of white is unknown.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    tags = getattr(image, "tag_v2", {})
    signed = SIGNED in tags.get(SAMPLE_FORMAT, ())
    if is_deep(image):
        deep = np.asarray(image)
        shades = deep >> (count_bits(image) - 8)  # the 8 most significant bits
        # Pillow inverts such images only for 8 bits.
        if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            shades = 255 - shades
        clear = image.info.get("transparency")
        return _grey(shades if clear is None else np.where(deep == clear, 255, shades))
    if image.mode == "I" or signed:
        raise NoWhiteError("32-bit or signed integers, for which white is not defined")
    if image.mode == "F":
        values = np.asarray(image)
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):  # also True for NaN
            raise NoWhiteError(f"floats from {low:g} to {high:g}, where 0 is black and 1 white")
        if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            values = 1 - values
        return _grey(np.rint(values * 255))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = PIL.Image.new("RGBA", rgba.size, "white")
        return PIL.Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def is_deep(image: PIL.Image.Image) -> bool:
    """Return whether the image is grey with unsigned integers of more than 8 bits.

    Pillow reads a PGM of more than 8 bits as 32-bit integers, scaled so that white is 65535.
    """
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")


def count_bits(image: PIL.Image.Image) -> int:
    """Return the number of bits of a deep image: 16, unless its TIFF header says less."""
    tags = getattr(image, "tag_v2", {})
    said = tags.get(BITS_PER_SAMPLE, (16,)) if image.mode.startswith("I;16") else (16,)
    return int(said[0]) if 8 < int(said[0]) < 16 else 16


def resize(image: PIL.Image.Image, size: tuple[int, int] | None) -> PIL.Image.Image:
    """Return the image resized to (height, width), bilinear and antialiased, if it differs."""
    if size is None or image.size == (size[1], size[0]):
        return image
    return image.resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR)


def _grey(values: npt.NDArray[np.generic]) -> PIL.Image.Image:
    return PIL.Image.fromarray(values.astype(np.uint8)).convert("RGB")
