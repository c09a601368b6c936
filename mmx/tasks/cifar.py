"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009)."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mmx.modalities.image import Image
from mmx.tasks.official import OfficialImages


def _make_image() -> Image:
    return Image(size=32, crop=4, flip=True)


@dataclass(kw_only=True, eq=False)
class Cifar10(OfficialImages):
    """60,000 images of 32×32 pixels in 10 classes of vehicles and animals.

    Use it as a small benchmark, or as a source for other small photographs.
    """

    image: Image = field(default_factory=_make_image)
    folder: ClassVar[str] = "cifar10"
    files: ClassVar[str] = "cifar-10-batches-py"

    def read_official(self, split: str) -> tuple[npt.NDArray[np.uint8], list[int], list[str]]:
        """Return the content of the official files."""
        from torchvision.datasets import CIFAR10  # slow to import

        return _read_content(CIFAR10(self.data_dir, train=split == "train", download=self.download))


@dataclass(kw_only=True, eq=False)
class Cifar100(OfficialImages):
    """60,000 images of 32×32 pixels in 100 classes.

    Use it as a source with more varied classes than CIFAR-10, which shares none of its images.
    """

    image: Image = field(default_factory=_make_image)
    folder: ClassVar[str] = "cifar100"
    files: ClassVar[str] = "cifar-100-python"

    def read_official(self, split: str) -> tuple[npt.NDArray[np.uint8], list[int], list[str]]:
        """Return the content of the official files."""
        from torchvision.datasets import CIFAR100  # slow to import

        return _read_content(
            CIFAR100(self.data_dir, train=split == "train", download=self.download)
        )


def _read_content(data: Any) -> tuple[npt.NDArray[np.uint8], list[int], list[str]]:
    return data.data, list(data.targets), list(data.classes)
