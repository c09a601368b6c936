"""Images shifted and mirrored."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mmx.modalities.augmentations.base import Augmentation

PART = 8
"""The shorter side over the largest shift, as the usual 4 pixels of 32."""


class CropFlip(Augmentation):
    """Shifts each image in both directions and mirrors half of the images, in one gather.

    The border is filled by reflection: indices are reflected, so the images are not padded.

    Args:
        crop: Largest shift in pixels; None: an eighth of the shorter side.
        flip: Mirror half of the images from left to right.
    """

    def __init__(
        self, *, crop: Annotated[int, Field(ge=0, le=8_192)] | None = None, flip: bool = True
    ) -> None:
        self.crop = crop
        self.flip = flip

    def __call__(self, images: Tensor) -> Tensor:
        """Return ``(B, H, W, C)``; see :class:`~mmx.modalities.augmentations.base.Augmentation`."""
        # The flip is drawn before the shift: another order would change what a seed gives.
        batch, height, width, channels = images.shape
        crop = min(height, width) // PART if self.crop is None else self.crop
        device = images.device
        y = torch.arange(height, device=device).expand(batch, height)
        x = torch.arange(width, device=device).expand(batch, width)
        if self.flip:
            mirror = torch.rand(batch, 1, device=device) < 0.5
            x = torch.where(mirror, x.flip(1), x)
        if crop:
            # one shift for a whole row of the batch, (B, 1), in each direction
            shift = torch.randint(-crop, crop + 1, (2, batch, 1), device=device)
            y = _reflect(y + shift[0], height)
            x = _reflect(x + shift[1], width)
        # Indices into the pixels of the whole batch, (B·H·W, channels).
        first = torch.arange(batch, device=device).view(-1, 1, 1) * (height * width)
        # (B, H, 1) and (B, 1, W): row-major numbers of pixels.
        pixel = first + y.unsqueeze(2) * width + x.unsqueeze(1)  # (B, H, W)
        flat = images.reshape(-1, channels).index_select(0, pixel.reshape(-1))
        return flat.view(images.shape)


def _reflect(index: Tensor, length: int) -> Tensor:
    """Mirror indices outside of [0, length) at the border, without repeating the border."""
    last = length - 1
    # |i| mirrors below 0, last - |last - ·| above the end.
    return last - (last - index.abs()).abs()
