"""Random changes of training images: one augmentation, one file.

    changed = augmentation(images)      # (B, H, W, 3) uint8, on the device of the images

Draws come from the global torch RNG, so that they follow the seed of each step, and rows are
changed alike whether they are kept decoded or streamed.
"""

from typing import TYPE_CHECKING, Literal, TypeAlias

from mmx.modalities.augmentations.base import Augmentation
from mmx.variants import find_variants

AUGMENTATIONS: dict[str, type[Augmentation]] = find_variants(
    "mmx.modalities.augmentations", Augmentation
)
"""The augmentations of this folder, by the names of their files."""
if TYPE_CHECKING:
    AugmentationName: TypeAlias = str
else:
    NAMES = (*AUGMENTATIONS, "none")
    AugmentationName = Literal[NAMES]

__all__ = ["AUGMENTATIONS", "Augmentation", "AugmentationName"]
