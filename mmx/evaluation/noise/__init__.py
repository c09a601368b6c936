"""Noise on raw values: one file for each modality, with its corruptions.

A *noise* corrupts the raw value of one row at a given strength. It is a pure function of the
value, the strength and a generator seeded by (seed, modality, noise, row): neither the order of
the rows nor their batch matters. A row's draws are the same at every strength, so that levels of
a noise differ only in strength.

A :class:`Corruption` reads a modality's raw rows and encodes the corrupted ones again.
"""

from typing import Any

from mmx.evaluation.noise.base import Corruption, Noise, corrupt
from mmx.variants import find_variants

CORRUPTIONS: dict[str, type[Corruption[Any, Any]]] = {
    kind.name: kind for kind in find_variants("mmx.evaluation.noise", Corruption).values()
}
"""Modality to the class that corrupts its rows, from the files of this folder."""

__all__ = ["CORRUPTIONS", "Corruption", "Noise", "corrupt"]
