"""Reads an image file: upright, 8-bit RGB on a background, resized. Needs Pillow and numpy."""

import math
from typing import Any

import numpy as np
from PIL import Image, ImageOps

UNSAFE = ("EPS", "WMF", "IPTC", "BUFR", "GRIB", "HDF5")  # another program or format reads these


def read(path: str, how: dict[str, Any]) -> Any:
    """Return ``(H, W, 3)`` uint8."""
    size = how["size"]
    Image.init()
    formats = [name for name in Image.ID if name not in UNSAFE]
    with Image.open(path, formats=formats) as file:
        if file.mode[0] in "IF":
            raise ValueError(f"{path} has more than 8 bits a channel: save it with 8")
        if how["draft"]:  # a large JPEG decodes faster at a fraction of its size
            file.draft("RGB", (max(size), max(size)))
        image: Image.Image = ImageOps.exif_transpose(file)
        if image.has_transparency_data:
            below = Image.new("RGBA", image.size, (*[how["background"]] * 3, 255))
            image = Image.alpha_composite(below, image.convert("RGBA"))
        return resize(image.convert("RGB"), how)


def resize(image: Image.Image, how: dict[str, Any]) -> Any:
    """Return the pixels of an RGB image at the size that the model reads."""
    height, width = how["size"]
    method = Image.Resampling[how["interpolation"].upper()]
    if how["how"] == "squash":
        same = image.size == (width, height)
        return np.asarray(image if same else image.resize((width, height), method))
    if how["how"] == "pad":
        ratio = max(image.height / height, image.width / width)
        sides = round(image.width / ratio), round(image.height / ratio)
    else:  # the aspect is kept, and the middle is taken
        tall, wide = math.floor(height / how["part"]), math.floor(width / how["part"])
        if tall == wide:
            short = min(image.size)
            sides = int(tall * image.width / short), int(tall * image.height / short)
        else:
            ratio = min(image.height / tall, image.width / wide)
            sides = round(image.width / ratio), round(image.height / ratio)
    if sides != image.size:
        image = image.resize(sides, method)
    left, top = max(0, width - image.width) // 2, max(0, height - image.height) // 2
    framed = Image.new("RGB", (max(width, image.width), max(height, image.height)))
    framed.paste(image, (left, top))
    left, top = round((framed.width - width) / 2), round((framed.height - height) / 2)
    return np.asarray(framed.crop((left, top, left + width, top + height)))
