"""Any set of images with one class each that torchvision reads, by its name."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from mmx.errors import DataError, closest
from mmx.modalities.image import Image
from mmx.tasks.base import CutTask, type_task_option
from mmx.tasks.official import OfficialImages
from mmx.tasks.torchvision_rows import Images

Option = str | Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] | bool
SetSplits = Mapping[str, Mapping[str, Option]]
"""Split to the options by which torchvision opens it."""

WHOLE: SetSplits = {"train": {}}
BY_TRAIN: SetSplits = {"train": {"train": True}, "test": {"train": False}}
BY_SPLIT: SetSplits = {"train": {"split": "train"}, "test": {"split": "test"}}
WITH_VAL: SetSplits = {name: {"split": name} for name in ("train", "val", "test")}
VAL_AS_TEST: SetSplits = {"train": {"split": "train"}, "test": {"split": "val"}}
"""Of sets with no labels for their test images: their validation images are what people test on."""

SETS: dict[str, SetSplits] = {
    "Caltech101": WHOLE,
    "Caltech256": WHOLE,
    "CIFAR10": BY_TRAIN,
    "CIFAR100": BY_TRAIN,
    "Country211": {**WITH_VAL, "val": {"split": "valid"}},
    "DTD": WITH_VAL,
    "EMNIST": BY_TRAIN,
    "EuroSAT": WHOLE,
    "FashionMNIST": BY_TRAIN,
    "FER2013": BY_SPLIT,
    "FGVCAircraft": WITH_VAL,
    "Flowers102": WITH_VAL,
    "Food101": BY_SPLIT,
    "GTSRB": BY_SPLIT,
    "Imagenette": VAL_AS_TEST,
    "KMNIST": BY_TRAIN,
    "MNIST": BY_TRAIN,
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    "QMNIST": BY_TRAIN,
    "RenderedSST2": WITH_VAL,
    "SEMEION": WHOLE,
    "StanfordCars": BY_SPLIT,
    "STL10": BY_SPLIT,
    "SUN397": WHOLE,
    "SVHN": BY_SPLIT,
    "USPS": BY_TRAIN,
}
"""Sets with one class an image, as torchvision calls them."""


NEEDED: dict[str, dict[str, Option]] = {"EMNIST": {"split": "balanced"}}
"""Sets to the options without which they cannot be opened, with a usual value."""

OURS = frozenset(
    {"root", "transform", "target_transform", "transforms", "download", "loader", "what", "kwargs"}
)
"""Options of torchvision's classes that are not for users."""


def find_set(name: str) -> str | None:
    """Return what torchvision calls a set, as ``oxford_iiit_pet`` is ``OxfordIIITPet``."""
    plain = name.lower().replace("_", "").replace("-", "")
    return next((official for official in SETS if official.lower() == plain), None)


@dataclass(kw_only=True, eq=False)
class TorchvisionSet(OfficialImages, CutTask):
    """A set of images that torchvision reads, such as ``name=eurosat`` or ``name=oxford_iiit_pet``.

    Use it for sets that have no file of their own here. The authors' splits are kept; of sets
    without any, ``test`` is cut. EMNIST's images are turned upright, like MNIST's.

    Args:
        name: Of the set, as torchvision calls it; upper and lower case are alike.
        options: Further options of torchvision's class, such as ``{split: letters}`` of EMNIST.
        image: How the images are decoded.

    Raises:
        ValueError: There is no such set, or it has no such option.
    """

    options: dict[str, Option] = field(default_factory=dict)
    image: Image = field(default_factory=Image)

    folder: ClassVar[str] = ""
    files: ClassVar[str] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if find_set(self.name) is None:
            near = closest(self.name, [name.lower() for name in SETS])
            raise ValueError(
                f"`name` (={self.name}) is no set of images with classes in torchvision; accepted: "
                f"{', '.join(name.lower() for name in SETS)}"
                + (f"; closest: {near}" if near else "")
            )

    @property
    def official(self) -> str:
        """What torchvision calls the set."""
        return find_set(self.name) or self.name

    def list_splits(self) -> Sequence[str]:
        """Return the authors' splits; ``train`` alone where there are none."""
        return tuple(SETS[self.official])

    def open_official(self, root: str, split: str, *, download: bool) -> Any:
        """Return torchvision's data set of a split.

        Raises:
            DataError: It has no such option, or cannot be fetched by torchvision.
        """
        import torchvision.datasets  # slow to import

        kind = getattr(torchvision.datasets, self.official)
        known = inspect.signature(kind).parameters
        chosen = SETS[self.official][split]
        self._check_options([name for name in known if name not in {*OURS, *chosen}])
        # Without decoding: a row is then the path of its image.
        options: dict[str, Any] = {"loader": str} if "loader" in known else {}
        if download:
            if "download" not in known:
                raise DataError(
                    f"{self.name}: torchvision cannot fetch {self.official}",
                    tip=f"python -c 'import torchvision.datasets as d; help(d.{self.official})'   "
                    "(says where to get it, and how it lies in your data folder)",
                )
            options["download"] = True
        return kind(root, **chosen, **self.options, **options)

    def list_images(self, data: Any) -> tuple[Images, list[int], list[str]]:
        """Return images, labels and class names.

        EMNIST's files hold transposed images, and count its letters from 1.
        """
        images, labels, names = super().list_images(data)
        if self.official != "EMNIST":
            return images, labels, names
        if isinstance(images, np.ndarray):
            images = np.ascontiguousarray(images.swapaxes(1, 2))
        if names[0] == "N/A" and 0 not in labels:
            labels, names = [label - 1 for label in labels], names[1:]
        return images, labels, names

    def _check_options(self, accepted: list[str]) -> None:
        needed = NEEDED.get(self.official, {})
        if absent := needed.keys() - self.options.keys():
            raise DataError(
                f"{self.name}: {self.official} of torchvision needs the option '{min(absent)}'",
                tip=type_task_option("options", {**self.options, **needed}),
            )
        for name in self.options:
            if name not in accepted:
                near = closest(name, accepted)
                raise DataError(
                    f"{self.name}: {self.official} of torchvision has no option '{name}'; "
                    f"accepted: {', '.join(accepted) or 'none'}",
                    tip=type_task_option("options", {near: self.options[name]} if near else {}),
                )

    def describe_error(self, root: Path, error: Exception) -> DataError:
        """Return the error for files that are absent or damaged, which torchvision tells alike."""
        return DataError(
            f"{self.name}: torchvision cannot open {self.official} in {root}: {error}",
            tip="download=true fetches the official files; "
            "MMX_DATA_DIR=<folder> sets the folder of the data",
        )
