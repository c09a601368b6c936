"""RandAugment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from mmx.modalities.augmentations.base import Augmentation, change_each


class Rand(Augmentation):
    """RandAugment of torchvision: operations drawn for each image, of one strength.

    The operations move, turn and shear an image, and change its brightness, colour, contrast and
    sharpness; what moves in from outside is black. Use it for photos; on digits and signs a turn
    may change the class.

    Args:
        operations: How many are applied to an image.
        magnitude: Their strength, of 31 steps.

    Reference: Cubuk et al. 2020, arXiv 1909.13719.
    """

    def __init__(
        self,
        *,
        operations: Annotated[int, Field(ge=1, le=14)] = 2,
        magnitude: Annotated[int, Field(ge=0, le=30)] = 9,
    ) -> None:
        self.operations = operations
        self.magnitude = magnitude

    def __call__(self, images: Tensor) -> Tensor:
        """Return ``(B, H, W, 3)``; see :class:`~mmx.modalities.augmentations.base.Augmentation`."""
        from torchvision.transforms import v2  # here, since its import takes seconds

        return change_each(
            images, v2.RandAugment(num_ops=self.operations, magnitude=self.magnitude)
        )
