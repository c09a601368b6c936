"""Notes on how image files are read: what is left out, laid on a colour, or nearly black."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
import PIL.Image

from mmx.modalities.files import FileOrBytes
from mmx.modalities.pixels import Decoding, count_bits, is_deep, open_image

INSPECTED = 16
"""Number of training images, the first ones, of which the brightest pixel is looked for."""
SAMPLED = 64
"""Number of training images, evenly spaced, of which everything else is looked at."""
SRGB_GAMMA = 0.45455
GAMMA_APART = 0.02  # from which difference a gamma is another one


def note_images(files: Sequence[FileOrBytes], decoding: Decoding) -> tuple[str, ...]:
    """Return notes on some of the files; none on those that cannot be read.

    Args:
        files: Those of the training rows.
        decoding: How they are read.
    """
    places = np.unique(np.linspace(0, len(files) - 1, min(SAMPLED, len(files))).round())
    some = [files[int(place)] for place in places]
    notes = [*_note_dark(files[:INSPECTED], decoding)]
    for has, what in (
        (
            _is_transparent,
            f"have transparent pixels, which are laid on {decoding.background} "
            "(target.image.background=white|black|grey)",
        ),
        (_has_frames, "have several frames or pages, of which the first is read"),
        (
            _has_other_colours,
            "have a colour profile or gamma other than sRGB, which is not applied: "
            "their numbers are read as they are stored",
        ),
    ):
        count = sum(_look(file, has, decoding) for file in some)
        if count:
            notes.append(f"image: {count} of {len(some)} training images looked at {what}")
    return tuple(notes)


def _look(file: FileOrBytes, has: Callable[[PIL.Image.Image], bool], decoding: Decoding) -> bool:
    """Return whether an image has a property; False for one that cannot be read."""
    try:
        with open_image(file, decoding.max_pixels) as image:
            return has(image)
    except Exception:  # decoding the row raises an error that names it
        return False


def _is_transparent(image: PIL.Image.Image) -> bool:
    """Return whether an image has a pixel that is not opaque; one with such a mode is decoded."""
    if not image.has_transparency_data:
        return False
    if is_deep(image):
        return bool((np.asarray(image) == image.info.get("transparency")).any())
    least, _ = image.convert("RGBA").getchannel("A").getextrema()
    return bool(least < 255)  # type: ignore[operator]


def _has_frames(image: PIL.Image.Image) -> bool:
    """Return whether frames or pages follow the first; an MPO is one picture with its maps."""
    return image.format != "MPO" and bool(getattr(image, "is_animated", False))


def _has_other_colours(image: PIL.Image.Image) -> bool:
    """Return whether the numbers of a colour image say other colours than those of sRGB."""
    gamma = image.info.get("gamma")
    if gamma and "srgb" not in image.info and abs(gamma - SRGB_GAMMA) > GAMMA_APART:
        return True
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK", "P"):
        return False
    from PIL import ImageCms  # here, since few images have a profile

    found = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return "srgb" not in ImageCms.getProfileDescription(found).lower().replace(" ", "")


def _note_dark(files: Sequence[FileOrBytes], decoding: Decoding) -> list[str]:
    """Return a note if the first images use only a small part of 16 bits."""
    brightest: list[float] = []

    def measure(image: PIL.Image.Image) -> bool:
        if is_deep(image):
            white = 2 ** count_bits(image) - 1
            brightest.append(float(np.asarray(image).max()) / white)
        return True

    for file in files:
        _look(file, measure, decoding)
    if not brightest or max(brightest) >= 1 / 16:
        return []
    return [
        f"image: white is 65535 in images of 16 bits, and the brightest pixel of the first "
        f"{len(brightest)} is {max(brightest) * 65535:.0f}: they are nearly black, and most "
        "of their shades become equal; scale them up if this is not intended"
    ]
