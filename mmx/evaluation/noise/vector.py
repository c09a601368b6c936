"""Vectors with additive noise, or lost items.

Shape legend: ``D`` items.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mmx.evaluation.noise.base import Corruption, Noise, add_noise
from mmx.modalities import Stored
from mmx.modalities.vector import VectorColumn, VectorSpec
from mmx.training.data import Rows

Items = npt.NDArray[np.float64]
"""``(D,)``, NaN where an item is missing."""


def lose_items(items: Items, strength: float, generator: np.random.Generator) -> Items | None:
    """Lose each item with a probability; return None if none is left."""
    left = np.where(generator.random(len(items)) < strength, np.nan, items)
    return None if np.isnan(left).all() else left


class VectorCorruption(Corruption[VectorColumn, VectorSpec]):
    """Corrupts vectors as they are read; see :class:`~mmx.evaluation.noise.base.Corruption`."""

    name: ClassVar[str] = "vector"

    @property
    def noises(self) -> tuple[Noise, ...]:
        """Additive noise and missing items."""
        return (
            Noise(
                "additive",
                "standard deviation over that of the training rows",
                (0.0, 0.1, 0.25, 0.5, 1.0),
                partial(add_noise, stds=np.array(self.spec.stds)),
            ),
            Noise("missing_items", "part of the items", (0.0, 0.1, 0.25, 0.5, 0.75), lose_items),
        )

    def read(self, rows: Rows, stored: Stored | None) -> list[Items]:
        """Return the vector of each row, of NaN where it has none."""
        nothing = np.full(len(self.spec.means), np.nan)
        here = self.column.present
        return [self.column.read(int(row)) if here[row] else nothing for row in rows]

    def encode(self, values: Sequence[Items | None]) -> Stored:
        """Return the vectors standardised as in training."""
        nothing = np.full(len(self.spec.means), np.nan)
        column = VectorColumn(np.stack([nothing if one is None else one for one in values]))
        return self.view.modality.encode(column, np.arange(len(values)), self.spec)
