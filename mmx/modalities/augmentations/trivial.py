"""TrivialAugment."""

from __future__ import annotations

from torch import Tensor

from mmx.modalities.augmentations.base import Augmentation, change_each


class Trivial(Augmentation):
    """TrivialAugment of torchvision: one operation an image, of a strength drawn for it.

    It has the operations of ``rand``, over a wider range of strengths, and nothing to choose.

    Reference: Müller and Hutter 2021, arXiv 2103.10158.
    """

    def __call__(self, images: Tensor) -> Tensor:
        """Return ``(B, H, W, 3)``; see :class:`~mmx.modalities.augmentations.base.Augmentation`."""
        from torchvision.transforms import v2  # here, since its import takes seconds

        return change_each(images, v2.TrivialAugmentWide())
