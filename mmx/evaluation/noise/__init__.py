"""Noise on raw values: one file a modality, each with its corruptions.

A *noise* spoils the raw value of one row at a strength. It is a pure function of the value,
the strength and a generator that belongs to (seed, modality, noise, row): neither the order
of the rows nor their batch matters. A row's draws are the same at every strength, so that a
stronger noise differs from a weaker one by its strength alone.

A :class:`Corruption` reads a modality's raw rows and encodes them again once they are spoiled.
"""

from typing import Any

from mmx.evaluation.noise.base import Corruption, Noise, spoil
from mmx.variants import find_variants

CORRUPTIONS: dict[str, type[Corruption[Any, Any]]] = {
    kind.name: kind for kind in find_variants("mmx.evaluation.noise", Corruption).values()
}
"""Modality to how its rows are spoiled: what the files of this folder define."""

__all__ = ["CORRUPTIONS", "Corruption", "Noise", "spoil"]
