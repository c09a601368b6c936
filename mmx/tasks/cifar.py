"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mmx.modalities.image import Image
from mmx.tasks.official import OfficialImages
from mmx.tasks.set_facts import SetFacts

SOURCE = "Krizhevsky 2009, cs.toronto.edu/~kriz/cifar.html"


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
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"train": 50_000, "test": 10_000}, 10, 170.5, "not stated", SOURCE
    )

    def open_official(self, root: str, split: str, *, download: bool) -> Any:
        """Return torchvision's data set of a split."""
        from torchvision.datasets import CIFAR10  # slow to import

        return CIFAR10(root, train=split == "train", download=download)

    def list_images(self, data: Any) -> tuple[npt.NDArray[np.uint8], list[int], list[str]]:
        """Return all images at once."""
        return _list_content(data)

    def list_digests(self) -> Iterable[tuple[str, str]]:
        """Return the batches and their digests."""
        from torchvision.datasets import CIFAR10

        return _list_batches(CIFAR10)


@dataclass(kw_only=True, eq=False)
class Cifar100(OfficialImages):
    """60,000 images of 32×32 pixels in 100 classes.

    Use it as a source with more varied classes than CIFAR-10, which shares none of its images.
    """

    image: Image = field(default_factory=_make_image)
    folder: ClassVar[str] = "cifar100"
    files: ClassVar[str] = "cifar-100-python"
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"train": 50_000, "test": 10_000}, 100, 169.0, "not stated", SOURCE
    )

    def open_official(self, root: str, split: str, *, download: bool) -> Any:
        """Return torchvision's data set of a split."""
        from torchvision.datasets import CIFAR100  # slow to import

        return CIFAR100(root, train=split == "train", download=download)

    def list_images(self, data: Any) -> tuple[npt.NDArray[np.uint8], list[int], list[str]]:
        """Return all images at once."""
        return _list_content(data)

    def list_digests(self) -> Iterable[tuple[str, str]]:
        """Return the batches and their digests."""
        from torchvision.datasets import CIFAR100

        return _list_batches(CIFAR100)


def _list_content(data: Any) -> tuple[npt.NDArray[np.uint8], list[int], list[str]]:
    return data.data, list(data.targets), list(data.classes)


def _list_batches(official: Any) -> list[tuple[str, str]]:
    files = [*official.train_list, *official.test_list]
    files.append((official.meta["filename"], official.meta["md5"]))
    return [(f"{official.base_folder}/{name}", digest) for name, digest in files]
