"""Images as published weights were shown them: resized and cropped by the library's own steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch

from mmx.modalities.base import RowNumbers, Stored, as_rows
from mmx.modalities.files import call_each
from mmx.modalities.image import Image, ImageColumn, ImageSpec, read_image

Crop = Literal["center", "squash", "pad"]
INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos")
"""The names of torchvision's ``InterpolationMode``."""


def describe_size(given: tuple[int, int], own: tuple[int, int], option: str) -> tuple[str, ...]:
    """Return a line that says that images have another size than weights were trained on.

    Args:
        given: (height, width) in pixels.
        own: The same of the weights.
        option: The option that sets the size.
    """
    if given == own:
        return ()
    typed = f"{option}={own[0]}" if own[0] == own[1] else f"{option}=[{own[0]},{own[1]}]"
    return (
        f"images of {given[0]}×{given[1]} pixels, where the weights were trained on "
        f"{own[0]}×{own[1]}: {typed}",
    )


class ResizedImage(Image):
    """Images resized with their aspect kept, and cropped around their centre.

    The steps are those of torchvision on a PIL image, which timm, open_clip and transformers
    use too, so that an image has the very pixels that the library would give it.

    Args:
        task: How the task reads its images, whose augmentation is kept; shifts are scaled along.
        size: (height, width) in pixels.
        crop_part: Part of the resized image that the crop keeps; 1 for all.
        interpolation: As PIL calls it: ``bilinear``, ``bicubic``, ``nearest`` or ``lanczos``.
        how: ``center`` keeps the aspect and crops; ``squash`` resizes both sides; ``pad`` keeps
            the aspect and the whole image, and fills what is left with black.
    """

    def __init__(
        self,
        task: Image | None,
        *,
        size: tuple[int, int],
        crop_part: float,
        interpolation: str,
        how: Crop = "center",
    ) -> None:
        before = task.size[0] if task is not None and task.size is not None else size[0]
        shift = 0 if task is None else round(task.crop * size[0] / before)
        super().__init__(
            size=size,
            crop=min(shift, min(size) - 1),
            flip=task is not None and task.flip,
            augment=None if task is None else task.augmentation,
        )
        if task is not None:
            self.decoding = task.decoding
        self.crop_part = crop_part
        self.interpolation = _check_interpolation(interpolation)
        self.how = how
        self.task_size = None if task is None else task.size

    def encode(self, column: ImageColumn, rows: RowNumbers, spec: ImageSpec) -> Stored:
        """Return ``(B, H, W, 3)`` uint8."""
        rows = as_rows(rows)
        values = np.zeros((len(rows), spec.height, spec.width, 3), dtype=np.uint8)

        def decode(i: int) -> None:
            row = int(rows[i])
            if column.present[row]:
                pixels = read_image(column, row, None, self.decoding)
                values[i] = self.resize(pixels, (spec.height, spec.width))

        call_each(decode, len(rows))
        return Stored(torch.from_numpy(values))

    def resize(self, pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Return ``(H, W, 3)`` pixels as the weights expect them."""
        # Here, since its import takes seconds, and features of the cache need none of it.
        from torchvision.transforms import InterpolationMode, functional

        mode = InterpolationMode(self.interpolation)
        image = PIL.Image.fromarray(pixels)
        if self.how == "squash":
            return np.asarray(functional.resize(image, list(size), mode))
        if self.how == "pad":
            image = functional.resize(image, _scale(image, size, max), mode)
            return np.asarray(functional.center_crop(image, list(size)))  # pads with zeros
        scaled = [math.floor(side / self.crop_part) for side in size]
        if scaled[0] == scaled[1]:  # of a square the shorter side is resized
            image = functional.resize(image, scaled[:1], mode)
        else:
            target = _scale(image, (scaled[0], scaled[1]), min)
            image = functional.resize(image, target, mode)
        return np.asarray(functional.center_crop(image, list(size)))


def _check_interpolation(name: str) -> str:
    """Return the name of a way to resize.

    Raises:
        ValueError: torchvision has none of this name.
    """
    if name not in INTERPOLATIONS:
        known = ", ".join(INTERPOLATIONS)
        raise ValueError(f"'{name}' is no interpolation of torchvision, which has {known}")
    return name


def _scale(
    image: PIL.Image.Image, size: tuple[int, int], choose: Callable[[float, float], float]
) -> list[int]:
    """Return (height, width) of an image with its aspect kept, scaled to one side of a size."""
    ratio = choose(image.height / size[0], image.width / size[1])
    return [round(side / ratio) for side in (image.height, image.width)]
