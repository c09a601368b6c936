"""Noisy, blurred and occluded images, at the size that the encoder reads.

Shape legend: ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from mmx.evaluation.noise.base import Corruption, Noise
from mmx.modalities import Stored
from mmx.modalities.image import ImageColumn, ImageSpec
from mmx.training.data import Rows

ImageArray = npt.NDArray[np.uint8]
"""``(H, W, 3)``."""

GREY = 128


def add_gaussian_noise(
    image: ImageArray, strength: float, generator: np.random.Generator
) -> ImageArray:
    """Add normal noise to every channel of every pixel, and clip."""
    return _to_pixels(image + 255 * strength * generator.standard_normal(image.shape))


def blur(image: ImageArray, strength: float, generator: np.random.Generator) -> ImageArray:
    """Blur with a Gaussian, which is normalised at the border over the pixels inside."""
    if strength == 0:
        return image
    height, width = image.shape[:2]
    sigma = strength * min(height, width)
    # A Gaussian is separable: one matrix for each axis.
    down, across = _kernel(height, sigma), _kernel(width, sigma)
    # (H, H') (H', W', C) (W, W') → (H, W, C); einsum chooses the order of the two products.
    return _to_pixels(np.einsum("hi,ijc,wj->hwc", down, image, across, optimize=True))


def occlude(image: ImageArray, strength: float, generator: np.random.Generator) -> ImageArray:
    """Cover a rectangle with the aspect ratio of the image, somewhere inside, with mid-grey."""
    covered = image.copy()
    # Drawn without the size, so that the place is the same at every strength.
    where = generator.random(2)
    # Each side is scaled by the root of the area's fraction.
    sides = [round(length * strength**0.5) for length in image.shape[:2]]
    top, left = (
        # 0 to length - side: the rectangle lies inside.
        int(part * (length - side + 1))
        for part, length, side in zip(where, image.shape, sides, strict=False)
    )
    covered[top : top + sides[0], left : left + sides[1]] = GREY
    return covered


def _kernel(length: int, sigma: float) -> npt.NDArray[np.float64]:
    """Return ``(length, length)`` weights of a Gaussian blur along one axis; rows sum to 1."""
    place = np.arange(length)
    weights = np.exp(-((place[:, None] - place) ** 2) / (2 * sigma**2))
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _to_pixels(values: npt.NDArray[np.float64]) -> ImageArray:
    return np.rint(values).clip(0, 255).astype(np.uint8)


class ImageCorruption(Corruption[ImageColumn, ImageSpec]):
    """Corrupts decoded and resized images.

    See :class:`~mmx.evaluation.noise.base.Corruption`.
    """

    name: ClassVar[str] = "image"

    @property
    def noises(self) -> tuple[Noise, ...]:
        """Gaussian noise, blur and occlusion."""
        return (
            Noise(
                "gaussian",
                "standard deviation, part of the range from black to white",
                (0.0, 0.05, 0.1, 0.2, 0.4),
                add_gaussian_noise,
            ),
            Noise(
                "blur",
                "standard deviation, part of the shorter side",
                (0.0, 0.0125, 0.025, 0.05, 0.1),
                blur,
            ),
            Noise("occlusion", "part of the area", (0.0, 0.1, 0.25, 0.5, 0.75), occlude),
        )

    def read(self, rows: Rows, stored: Stored | None) -> list[ImageArray]:
        """Return images as ``(H, W, 3)`` uint8."""
        return list((stored or self.view.encode(rows)).values.cpu().numpy())

    def encode(self, values: Sequence[ImageArray | None]) -> Stored:
        """Return ``(B, H, W, 3)`` uint8."""
        size = (self.spec.height, self.spec.width, 3)
        images = [np.zeros(size, np.uint8) if value is None else value for value in values]
        return Stored(torch.from_numpy(np.stack(images)))
