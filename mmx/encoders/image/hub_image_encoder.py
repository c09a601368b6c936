"""What encoders of images of published models have in common: how images are shown to them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field

from mmx.encoders.hub_encoder import HubEncoder
from mmx.encoders.normalize import Normalize
from mmx.modalities import Modality
from mmx.modalities.image import Image, ImageSpec
from mmx.modalities.resized_image import Crop, ResizedImage, describe_size

_WIDTHS: dict[tuple[type, str, int, int], tuple[int, tuple[int, ...]]] = {}
"""Class, layers and image size of a network to the widths of its features."""

ImageSide = Annotated[int, Field(ge=8, le=8_192)]


@dataclass(frozen=True)
class Preprocessing:
    """How images are shown to a model, as its weights expect it.

    Attributes:
        size: (height, width) in pixels.
        mean: Of each channel, in [0, 1].
        std: Of each channel.
        interpolation: As PIL calls it.
        how: See :class:`~mmx.modalities.resized_image.ResizedImage`.
        crop_part: Part of the resized image that the crop keeps; 1 for all.
    """

    size: tuple[int, int]
    mean: Sequence[float]
    std: Sequence[float]
    interpolation: str
    how: Crop = "center"
    crop_part: float = 1.0


class HubImageEncoder(HubEncoder):
    """Base of the encoders of images; see :class:`~mmx.encoders.hub_encoder.HubEncoder`.

    Images are resized, cropped and normalised as the weights expect it, whatever the task says,
    and so they are where the encoder is drawn fresh.

    Args:
        spec: Size of the images.
        size: Side in pixels of the square that images are resized to; None for the weights' own.
    """

    normalize: Normalize

    @classmethod
    @abstractmethod
    def find_preprocessing(cls, **options: Any) -> Preprocessing:
        """Return how images are shown to the model.

        Args:
            options: As the constructor takes them.

        Raises:
            DataError: The folder does not say, or asks for steps that are not taken here.
        """

    @classmethod
    def read_with(cls, modality: Modality[Any, Any] | None, **options: Any) -> Modality[Any, Any]:
        """Return images as the weights expect them, with the task's augmentation."""
        shown = cls.find_preprocessing(**options)
        return ResizedImage(
            modality if isinstance(modality, Image) else None,
            size=shown.size,
            crop_part=shown.crop_part,
            interpolation=shown.interpolation,
            how=shown.how,
        )

    @classmethod
    def describe_deviations(cls, spec: ImageSpec, **options: Any) -> tuple[str, ...]:
        """Return that images have another size than the weights were trained on."""
        own = cls.find_preprocessing(**{**options, "size": None}).size
        return describe_size((spec.height, spec.width), own, "encoder.image.size")

    def measure_widths(self, spec: ImageSpec) -> None:
        """Set the widths to those of the features of a black image.

        Networks of the same layers are looked at once a process.
        """
        key = (type(self), repr(self), spec.height, spec.width)
        if key not in _WIDTHS:
            mode, device = self.training, next(self.parameters()).device
            with torch.no_grad():
                seen = self.eval()(torch.zeros(1, 3, spec.height, spec.width, device=device))
            self.train(mode)
            levels = tuple(level.shape[1] for level in seen.levels)
            _WIDTHS[key] = (seen.pooled.shape[1], levels)
        self.width, self.level_widths = _WIDTHS[key]
