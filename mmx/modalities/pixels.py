"""Decoding an image file, or its bytes, to RGB of 8 bits.

The format of the file determines the value of white, never the brightest pixel of an image:

- 8 bits: 255; 1 bit: 1; 16 bits: 65535, or the value in the file (PGM's maxval, TIFF's bits);
- floats: 1.0, and an image with any pixel outside [0, 1] is refused;
- 32-bit and signed integers have no standard value of white and are refused.

Transparent pixels are laid on one colour, white unless the task says otherwise. Of several frames
or pages the first is read. Colour profiles and gamma are not applied.
"""

from __future__ import annotations

import importlib
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps

from mmx.errors import DataError
from mmx.modalities.files import (
    FileOrBytes,
    RowName,
    make_unreadable_error,
    name_file,
    name_row,
    read_start,
)
from mmx.modalities.members import Member

BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
WHITE_IS_ZERO = 0
SIGNED = 2

MOST_PIXELS = 178_956_970
"""Pixels that an image may have unless a setting says otherwise: Pillow's own bound."""
BACKGROUNDS = {"white": 255, "black": 0, "grey": 128}
Background = Literal["white", "black", "grey"]
FORMAT_BYTES = 16
"""First bytes of a file that say its format."""
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
UNSAFE = frozenset({"EPS", "WMF", "IPTC", "BUFR", "GRIB", "HDF5"})
"""Pillow's formats that another program or library draws (EPS is itself a program, which
Ghostscript runs), or that hold a file of any format (IPTC). They are never opened."""
UNSAFE_STARTS = {
    "EPS": (b"%!PS", b"\xc5\xd0\xd3\xc6"),
    "WMF": (b"\xd7\xcd\xc6\x9a\0\0",),
    "EMF": (b"\x01\0\0\0",),
    "IPTC": (b"\x1c",),
    "BUFR": (b"BUFR",),
    "GRIB": (b"GRIB",),
    "HDF5": (b"\x89HDF\r\n\x1a\n",),
}
"""First bytes of the same formats, for messages."""
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Pillow warns from half of its bound on, and mmx has a bound of its own.
warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Decoding:
    """How image files become pixels.

    Attributes:
        background: What transparent pixels are laid on.
        max_pixels: Width times height of the largest image that is read.
    """

    background: Background = "white"
    max_pixels: int = MOST_PIXELS


USUAL = Decoding()


def read_pixels(
    source: FileOrBytes,
    row: RowName,
    size: tuple[int, int] | None = None,
    decoding: Decoding = USUAL,
) -> npt.NDArray[np.uint8]:
    """Return an image as ``(H, W, 3)``, rotated as its EXIF orientation says.

    Args:
        source: The file, or its content.
        row: The row, for messages.
        size: (height, width) to resize to; None: the size of the image.
        decoding: What transparent pixels are laid on, and how many pixels are too many.

    Raises:
        DataError: It cannot be decoded, its value of white is unknown, or it is too large.
    """
    try:
        with open_image(source, decoding.max_pixels) as image:
            if size is not None:
                # A large JPEG decodes faster at 1/2, 1/4 or 1/8 of its size. The draft is a
                # square, since EXIF may rotate the image afterwards.
                image.draft("RGB", (max(size), max(size)))
            if image.getexif().get(PIL.ExifTags.Base.Orientation, 1) != 1:
                PIL.ImageOps.exif_transpose(image, in_place=True)
            return np.asarray(resize_bilinear(as_rgb(image, decoding.background), size))
    except TooLargeError as error:
        raise DataError(
            f"{name_row(row)}: image {name_file(source)} has {error}; at most "
            f"{decoding.max_pixels:,} are read, since a small file can unfold to fill the memory",
            tip=f"target.image.max_pixels={error.pixels} reads it, in about "
            f"{error.pixels * 4 / 1e9:.1f} GB; or save it smaller",
        ) from error
    except ModuleNotFoundError as error:
        raise DataError(
            f"{name_row(row)}: image {name_file(source)} is HEIC, which needs pillow-heif, "
            f"and that is not installed ({error})",
            tip="pip install 'mmx[heic]'",
        ) from error
    except PIL.UnidentifiedImageError as error:
        raise make_unreadable_error("image", source, row, _explain_unknown(source)) from error
    except NoWhiteError as error:
        raise DataError(
            make_unreadable_error("image", source, row, error).message,
            tip="save it with 8 or 16 bits, or as floats from 0 to 1",
        ) from error
    except Exception as error:  # Pillow's decoders raise many types for a damaged file
        raise make_unreadable_error("image", source, row, error) from error


class NoWhiteError(ValueError):
    """The value of white in an image is unknown."""


class TooLargeError(ValueError):
    """An image has more pixels than are read.

    Args:
        said: How many, for messages.
        pixels: A bound that would read it.
    """

    def __init__(self, said: str, pixels: int) -> None:
        super().__init__(said)
        self.pixels = pixels


def open_image(source: FileOrBytes, max_pixels: int = MOST_PIXELS) -> PIL.Image.Image:
    """Return the image with only its header read.

    Raises:
        TooLargeError: It has more than ``max_pixels``.
        ModuleNotFoundError: It is HEIC, and pillow-heif is not installed.
    """
    if isinstance(source, Member):
        source = source.read_bytes()
    # Pillow's own bound, of the process, also guards what only decoding shows, such as the
    # picture in an ICO file. It is raised where a setting asks for it, and never lowered.
    PIL.Image.MAX_IMAGE_PIXELS = max(PIL.Image.MAX_IMAGE_PIXELS or 0, -(-max_pixels // 2))
    try:
        image = _open(source)
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        pixels = int(re.findall(r"\((\d+) pixels", str(error))[0])
        raise TooLargeError(f"{pixels:,} pixels", pixels) from error
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        said = f"{width}×{height} = {width * height:,} pixels"
        raise TooLargeError(said, width * height)
    return image


def list_formats() -> list[str]:
    """Return Pillow's names of the formats that it reads itself, in the order it tries them."""
    PIL.Image.init()
    return [name for name in PIL.Image.ID if name not in UNSAFE]


def _open(source: Path | bytes) -> PIL.Image.Image:
    content = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        return PIL.Image.open(content, formats=list_formats())
    except PIL.UnidentifiedImageError:
        start = read_start(source, FORMAT_BYTES)
        if start[4:8] != b"ftyp" or start[8:12] not in HEIC_BRANDS:
            raise
    importlib.import_module("pillow_heif").register_heif_opener()
    return PIL.Image.open(content, formats=list_formats())


def _explain_unknown(source: FileOrBytes) -> str:
    """Return why Pillow does not know an image."""
    start = read_start(source, FORMAT_BYTES)
    if not start:
        return "it is empty"
    if start.startswith(TIFF_STARTS):
        return "a TIFF of bits, samples or a compression that Pillow does not read"
    for name, starts in UNSAFE_STARTS.items():
        if start.startswith(starts):
            return f"{name}, which only another program draws, and none is started: save it as PNG"
    return "not an image format that Pillow knows"


def as_rgb(image: PIL.Image.Image, background: Background = "white") -> PIL.Image.Image:
    """Return the image as RGB of 8 bits.

    Args:
        image: Of any mode.
        background: What transparent pixels are laid on.

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
        return _grey(
            shades if clear is None else np.where(deep == clear, BACKGROUNDS[background], shades)
        )
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
        below = PIL.Image.new("RGBA", rgba.size, (*[BACKGROUNDS[background]] * 3, 255))
        return PIL.Image.alpha_composite(below, rgba).convert("RGB")
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


def resize_bilinear(image: PIL.Image.Image, size: tuple[int, int] | None) -> PIL.Image.Image:
    """Return the image resized to (height, width), bilinear and antialiased, if it differs."""
    if size is None or image.size == (size[1], size[0]):
        return image
    return image.resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR)


def _grey(values: npt.NDArray[np.generic]) -> PIL.Image.Image:
    return PIL.Image.fromarray(values.astype(np.uint8)).convert("RGB")
