"""Food-101 (Bossard, Guillaumin and Van Gool 2014)."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from mmx.modalities.image import Image
from mmx.tasks.official import OfficialImages
from mmx.tasks.set_facts import SetFacts


@dataclass(kw_only=True, eq=False)
class Food101(OfficialImages):
    """101,000 photographs of 101 dishes; some training labels are wrong, as on the web.

    Use it as a large target of real photographs, which are decoded as they are needed.
    """

    image: Image = field(default_factory=lambda: Image(size=128, crop=16, flip=True))
    folder: ClassVar[str] = "food101"
    files: ClassVar[str] = "food-101"
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"train": 75_750, "test": 25_250},
        101,
        4_996.3,
        "not stated; photographs of foodspotting.com",
        "Bossard, Guillaumin and Van Gool 2014, data.vision.ee.ethz.ch/cvl/datasets_extra/food-101",
    )

    def open_official(self, root: str, split: str, *, download: bool) -> Any:
        """Return torchvision's data set of a split."""
        from torchvision.datasets import Food101 as Official  # slow to import

        return Official(root, split=split, download=download, loader=str)
