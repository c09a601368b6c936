"""Images of stripes with the number of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmx.modalities import Modality
from mmx.modalities.image import Image, ImageColumn
from mmx.tasks.base import Samples, Task, cut_test


@dataclass(kw_only=True, eq=False)
class Stripes(Task):
    """60 images of 8×8, upright or lying stripes in noise."""

    image: Image = field(default_factory=lambda: Image(size=8, crop=1))

    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        """The image."""
        return {"image": self.image}

    def read(self) -> Samples:
        """Return images and classes."""
        labels = np.arange(60, dtype=np.int64) % 2
        lines = np.arange(8) % 2 * 160
        plain = np.stack([np.tile(lines, (8, 1)), np.tile(lines, (8, 1)).T])[labels]
        pixels = (plain + np.random.default_rng(0).integers(0, 90, plain.shape)).astype(np.uint8)
        columns = {"image": ImageColumn(pixels)}
        return Samples(columns, labels, ("upright", "lying"), cut_test(labels, 0.2))
