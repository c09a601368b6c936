"""STL-10 (Coates, Ng and Lee 2011)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mmx.modalities.image import Image
from mmx.tasks.official import OfficialImages
from mmx.tasks.set_facts import SetFacts


@dataclass(kw_only=True, eq=False)
class Stl10(OfficialImages):
    """13,000 labelled images of 96×96 pixels in 10 classes, with 500 training images for each.

    Use it as a target: with few labels, and eight of CIFAR-10's ten classes at a higher
    resolution, a source has something to contribute.
    """

    image: Image = field(default_factory=lambda: Image(size=96, crop=12, flip=True))
    folder: ClassVar[str] = "stl10"
    files: ClassVar[str] = "stl10_binary"
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"train": 5_000, "test": 8_000},
        10,
        2_640.4,
        "not stated",
        "Coates, Ng and Lee 2011, cs.stanford.edu/~acoates/stl10",
    )

    def open_official(self, root: str, split: str, *, download: bool) -> Any:
        """Return torchvision's data set of a split."""
        from torchvision.datasets import STL10  # slow to import

        return STL10(root, split=split, download=download)

    def list_images(self, data: Any) -> tuple[npt.NDArray[np.uint8], list[int], list[str]]:
        """Return all images at once."""
        images = np.ascontiguousarray(data.data.transpose(0, 2, 3, 1))  # stored as (N, 3, H, W)
        return images, data.labels.tolist(), list(data.classes)

    def list_digests(self) -> Iterable[tuple[str, str]]:
        """Return the binary files and their digests."""
        from torchvision.datasets import STL10

        files = [*STL10.train_list, *STL10.test_list]
        return [(f"{STL10.base_folder}/{name}", digest) for name, digest in files]
