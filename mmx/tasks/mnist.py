"""MNIST (LeCun 1998) and Fashion-MNIST (Xiao 2017)."""

import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mmx.modalities.image import Image
from mmx.tasks.official import OfficialImages
from mmx.tasks.set_facts import SetFacts
from mmx.tasks.torchvision_rows import Images, list_set_rows


def _make_image() -> Image:
    return Image(size=28, crop=2)


@dataclass(kw_only=True, eq=False)
class Mnist(OfficialImages):
    """70,000 grey images of 28×28 pixels of the handwritten digits 0 to 9.

    Use it as a source for other digits: its classes have the names of those of ``digits``, ``svhn``
    and ``fsdd``.
    """

    image: Image = field(default_factory=_make_image)
    folder: ClassVar[str] = "mnist"
    files: ClassVar[str] = "MNIST"
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"train": 60_000, "test": 10_000},
        10,
        11.6,
        "CC BY-SA 3.0",
        "LeCun, Cortes and Burges 1998, yann.lecun.com/exdb/mnist",
    )

    def open_official(self, root: str, split: str, *, download: bool) -> Any:
        """Return torchvision's data set of a split."""
        from torchvision.datasets import MNIST  # slow to import

        return MNIST(root, train=split == "train", download=download)

    def list_images(self, data: Any) -> tuple[Images, list[int], list[str]]:
        """Return the images; classes are called ``0`` to ``9`` and not ``0 - zero``."""
        check_unpacked(Path(data.raw_folder))
        images, labels, names = list_set_rows(data)
        return images, labels, [name.partition(" - ")[0] for name in names]


@dataclass(kw_only=True, eq=False)
class FashionMnist(OfficialImages):
    """70,000 grey images of 28×28 pixels of clothes in 10 classes.

    Use it where ``mnist`` is too easy.
    """

    image: Image = field(default_factory=_make_image)
    folder: ClassVar[str] = "fashion_mnist"
    files: ClassVar[str] = "FashionMNIST"
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"train": 60_000, "test": 10_000},
        10,
        30.9,
        "MIT",
        "Xiao, Rasul and Vollgraf 2017, github.com/zalandoresearch/fashion-mnist",
    )

    def open_official(self, root: str, split: str, *, download: bool) -> Any:
        """Return torchvision's data set of a split."""
        from torchvision.datasets import FashionMNIST  # slow to import

        return FashionMNIST(root, train=split == "train", download=download)

    def list_images(self, data: Any) -> tuple[Images, list[int], list[str]]:
        """Return the images."""
        check_unpacked(Path(data.raw_folder))
        return list_set_rows(data)


def check_unpacked(folder: Path) -> None:
    """Raise ValueError for a file that differs from the ``.gz`` next to it, which has its CRC-32.

    torchvision verifies the ``.gz`` as it is fetched, and reads the unpacked file unseen.
    """
    for packed in sorted(folder.glob("*-ubyte.gz")):
        plain = packed.with_suffix("")
        with packed.open("rb") as file:
            file.seek(-8, 2)
            expected = struct.unpack("<II", file.read())  # the last 8 bytes: CRC-32 and size
        content = plain.read_bytes()
        if (zlib.crc32(content), len(content)) != expected:
            raise ValueError(f"{plain} is damaged: it is not what {packed.name} holds")
