"""STL-10 (Coates, Ng and Lee 2011)."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mmx.modalities.image import Image
from mmx.tasks.official import OfficialImages


@dataclass(kw_only=True, eq=False)
class Stl10(OfficialImages):
    """13,000 labelled images of 96×96 pixels in 10 classes, with 500 training images for each.

    Use it as a target: with few labels, and eight of CIFAR-10's ten classes at a higher
    resolution, a source has something to contribute.
    """

    image: Image = field(default_factory=lambda: Image(size=96, crop=12, flip=True))
    folder: ClassVar[str] = "stl10"
    files: ClassVar[str] = "stl10_binary"

    def read_official(self, split: str) -> tuple[npt.NDArray[np.uint8], list[int], list[str]]:
        """Return the content of the official files."""
        from torchvision.datasets import STL10  # slow to import

        data = STL10(self.data_dir, split=split, download=self.download)
        images = np.ascontiguousarray(data.data.transpose(0, 2, 3, 1))  # stored as (N, 3, H, W)
        return images, data.labels.tolist(), list(data.classes)
