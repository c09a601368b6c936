"""Oxford 102 Flowers (Nilsback and Zisserman 2008)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mmx.modalities.image import Image
from mmx.tasks.official import OfficialImages
from mmx.tasks.set_facts import SetFacts


@dataclass(kw_only=True, eq=False)
class Flowers102(OfficialImages):
    """8,189 photographs of 102 flowers, with 10 training and 10 validation images of each.

    Use it as a target with few labels and many similar classes.
    """

    image: Image = field(default_factory=lambda: Image(size=128, crop=16, flip=True))
    folder: ClassVar[str] = "flowers102"
    files: ClassVar[str] = "flowers-102"
    splits: ClassVar[Sequence[str]] = ("train", "val", "test")
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"train": 1_020, "val": 1_020, "test": 6_149},
        102,
        344.9,
        "not stated",
        "Nilsback and Zisserman 2008, robots.ox.ac.uk/~vgg/data/flowers/102",
    )

    def open_official(self, root: str, split: str, *, download: bool) -> Any:
        """Return torchvision's data set of a split."""
        from torchvision.datasets import Flowers102 as Official  # slow to import

        return Official(root, split=split, download=download, loader=str)
