"""The contract of every augmentation of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor


class Augmentation(ABC):
    """Base of all augmentations; keyword-only, plain, annotated constructor arguments.

    Write one to change training images in another way. What it draws comes from the global torch
    RNG, and each image is changed by draws of its own.

    Example:
        >>> class Negative(Augmentation):
        ...     def __call__(self, images):
        ...         chosen = torch.rand(len(images)) < 0.5
        ...         return torch.where(chosen[:, None, None, None], 255 - images, images)
        >>> Negative()(torch.zeros(1, 1, 1, 3, dtype=torch.uint8)).shape
        torch.Size([1, 1, 1, 3])
    """

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """Return changed copies of images.

        Args:
            images: ``(B, H, W, C)`` uint8, which is not changed; C is 3 but for clips, of which
                it holds the colours of all frames.
        """


def change_each(images: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return images ``(B, H, W, 3)``, each changed by a function of ``(3, H, W)``."""
    # (B, H, W, 3) → (B, 3, H, W), as torchvision has images, and back.
    planes = images.permute(0, 3, 1, 2)
    return torch.stack([change(image) for image in planes]).permute(0, 2, 3, 1).contiguous()
