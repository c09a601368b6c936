"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009)."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mmx.modalities.image import Image
from mmx.tasks.official import OfficialImages


def _image() -> Image:
    return Image(size=32, crop=4, flip=True)


@dataclass(kw_only=True, eq=False)
class Cifar10(OfficialImages):
    """60,000 images, 32×32, of 10 classes of vehicles and animals."""

    image: Image = field(default_factory=_image)
    folder: ClassVar[str] = "cifar10"
    files: ClassVar[str] = "cifar-10-batches-py"

    def official(self, split: str) -> tuple[npt.NDArray[np.uint8], list[int], list[str]]:
        """Return the official files' content."""
        from torchvision.datasets import CIFAR10  # slow to import

        return _content(CIFAR10(self.data_dir, train=split == "train", download=self.download))


@dataclass(kw_only=True, eq=False)
class Cifar100(OfficialImages):
    """60,000 images, 32×32, of 100 classes."""

    image: Image = field(default_factory=_image)
    folder: ClassVar[str] = "cifar100"
    files: ClassVar[str] = "cifar-100-python"

    def official(self, split: str) -> tuple[npt.NDArray[np.uint8], list[int], list[str]]:
        """Return the official files' content."""
        from torchvision.datasets import CIFAR100  # slow to import

        return _content(CIFAR100(self.data_dir, train=split == "train", download=self.download))


def _content(data: Any) -> tuple[npt.NDArray[np.uint8], list[int], list[str]]:
    return data.data, list(data.targets), list(data.classes)
