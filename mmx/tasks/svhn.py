"""Street View House Numbers (Netzer 2011)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mmx.modalities.image import Image
from mmx.tasks.digits import DIGIT_NAMES
from mmx.tasks.official import OfficialImages
from mmx.tasks.set_facts import SetFacts


@dataclass(kw_only=True, eq=False)
class Svhn(OfficialImages):
    """99,289 photographs of 32×32 pixels of house numbers; the digit in the middle is the class.

    Use it as a target of ``mnist``: the same digits in other surroundings. The 531,131 easier
    images that its authors call extra are not read.
    """

    image: Image = field(default_factory=lambda: Image(size=32, crop=4))
    folder: ClassVar[str] = "svhn"
    files: ClassVar[str] = "train_32x32.mat"
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"train": 73_257, "test": 26_032},
        10,
        246.3,
        "non-commercial use",
        "Netzer et al. 2011, ufldl.stanford.edu/housenumbers",
    )

    def open_official(self, root: str, split: str, *, download: bool) -> Any:
        """Return torchvision's data set of a split."""
        from torchvision.datasets import SVHN  # slow to import

        return SVHN(root, split=split, download=download)

    def list_images(self, data: Any) -> tuple[npt.NDArray[np.uint8], list[int], list[str]]:
        """Return all images at once."""
        images = np.ascontiguousarray(data.data.transpose(0, 2, 3, 1))  # read as (N, 3, H, W)
        return images, data.labels.tolist(), list(DIGIT_NAMES)

    def list_digests(self) -> Iterable[tuple[str, str]]:
        """Return the files and their digests."""
        from torchvision.datasets import SVHN

        return [(SVHN.split_list[split][1], SVHN.split_list[split][2]) for split in self.splits]
