"""The handwritten digits of scikit-learn, which need no download."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mmx.modalities import Modality
from mmx.modalities.image import Image, ImageColumn
from mmx.tasks.base import CutTask, Samples, TaskData
from mmx.tasks.set_facts import SetFacts
from mmx.tasks.splits import SplitRows

DIGIT_NAMES = tuple("0123456789")


@dataclass(kw_only=True, eq=False)
class Digits(CutTask):
    """1,797 grey 8×8 images of the digits 0 to 9 (UCI, Alpaydin and Kaynak 1998).

    Use it for demonstrations and quick tries: a run takes seconds on a CPU.

    Args:
        test_fraction: Share of the rows in ``test``, the same rows for every seed.
        image: How the images are decoded.
    """

    image: Image = field(default_factory=lambda: Image(size=8, crop=1))
    reads_alike: ClassVar[bool] = True
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"all": 1_797}, 10, 0, "CC BY 4.0", "Alpaydin and Kaynak 1998, as in scikit-learn"
    )

    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        """The image."""
        return {"image": self.image}

    def read(self) -> Samples:
        """Return images and digits."""
        images, labels = load_images()
        splits: dict[str, SplitRows] = {"train": np.arange(len(labels), dtype=np.int64)}
        return Samples({"image": ImageColumn(images)}, labels, DIGIT_NAMES, splits)

    def list_files(self, data: TaskData) -> list[Path]:
        """Return no file: the images are installed with scikit-learn."""
        return []


def load_images() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return images ``(N, 8, 8)`` and digits ``(N,)``."""
    table = _read_table()  # (N, 65)
    grey = table[:, :-1].reshape(-1, 8, 8)
    images = np.rint(grey * (255 / 16)).astype(np.uint8)  # scikit-learn's are 0 to 16
    return images, table[:, -1].astype(np.int64)


def _read_table() -> npt.NDArray[np.float64]:
    """Return ``(N, 65)``: the 64 pixels of each image, and its digit.

    They are read from scikit-learn's file, since importing scikit-learn takes longer than all else
    that a quick try does before its first step; by scikit-learn where it has its file elsewhere.
    """
    found = find_spec("sklearn")
    path = Path(str(found and found.origin)).parent / "datasets" / "data" / "digits.csv.gz"
    if path.is_file():
        return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits

    data = load_digits()
    return np.column_stack([data.data, data.target])
