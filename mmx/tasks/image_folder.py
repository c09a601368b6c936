"""Your own pictures, in one folder a class."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmx.errors import DataError
from mmx.modalities import Modality
from mmx.modalities.image import Image
from mmx.tasks.base import Samples, Share, Task, cut_test, override, replace_splits
from mmx.tasks.folders import list_folder, samples_of


@dataclass(kw_only=True, eq=False)
class ImageFolder(Task):
    """Pictures in ``{train,val,test}/<class>/`` or, without splits, in ``<class>/``.

    ``val`` and ``test`` may be lacking: they are then cut from the training rows.

    Args:
        path: The folder.
        test_fraction: Share tested on where there is no ``test``, the same for every seed.
        image: How the pictures are decoded.
    """

    path: str
    test_fraction: Share = 0.2
    image: Image = field(default_factory=Image)

    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        """The image."""
        return {"image": self.image}

    def read(self) -> Samples:
        """Return pictures and the names of their folders."""
        path = Path(self.path).expanduser()
        if not path.is_dir():
            raise DataError(
                f"{self.name}: there is no folder {path}",
                tip=override("path", "<folder of class folders>"),
            )
        if (path / "train").is_dir():
            names = [name for name in ("train", "val", "test") if (path / name).is_dir()]
            samples = samples_of({name: list_folder(path / name) for name in names})
        else:
            samples = samples_of({"train": list_folder(path)})
        if "test" in samples.splits:
            return samples
        cut = cut_test(samples.values, self.test_fraction, samples.splits["train"])
        return replace_splits(samples, {**samples.splits, **cut})
