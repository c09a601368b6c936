"""What every noise and every corruption is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, cast

import numpy as np

from mmx.modalities import Column, Spec, Stored
from mmx.training.data import Rows, View
from mmx.training.randomness import make_generator


@dataclass(frozen=True)
class Noise:
    """One way to spoil a raw value.

    Attributes:
        name: Of the noise.
        what: What its strength means, in words.
        strengths: From none, which is 0, to heavy.
        spoil: (value, strength, generator) -> spoiled value, or None where nothing is left
            of it and the row lacks the modality. It leaves the given value as it is.
        level: A strength in words.
    """

    name: str
    what: str
    strengths: tuple[float, ...]
    spoil: Callable[[Any, float, np.random.Generator], Any]
    level: Callable[[float], str] = "{:g}".format


_C = TypeVar("_C", bound=Column)
_S = TypeVar("_S", bound=Spec)


class Corruption(ABC, Generic[_C, _S]):
    """The raw rows of one modality: read, and encoded again once they are spoiled.

    Args:
        view: How the modality is read.
    """

    name: ClassVar[str]
    """The modality."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.column = cast(_C, view.column)
        self.spec = cast(_S, view.spec)

    @property
    @abstractmethod
    def noises(self) -> tuple[Noise, ...]:
        """The noises that this modality's values know."""

    @abstractmethod
    def read(self, rows: Rows, stored: Stored | None) -> list[Any]:
        """Return the raw value of each row; what it is where the row is absent, nobody reads.

        Args:
            rows: B row numbers.
            stored: The same rows decoded, if they are at hand.
        """

    @abstractmethod
    def encode(self, values: Sequence[Any]) -> Stored:
        """Return B raw values decoded, on the CPU; None is an absent one."""


def spoil(
    corruption: Corruption[Any, Any],
    noise: Noise,
    values: Sequence[Any],
    rows: Rows,
    strength: float,
    seed: int,
) -> list[Any]:
    """Return the values of the rows spoiled, None where the row lacks the modality.

    Args:
        corruption: Of the modality.
        noise: One of its noises.
        values: B raw values.
        rows: B row numbers.
        strength: How much to spoil.
        seed: Decides what is drawn, with the names and the number of the row.
    """
    spoiled: list[Any] = []
    for value, row in zip(values, rows, strict=True):
        if not corruption.column.present[row]:
            spoiled.append(None)
            continue
        draws = make_generator(seed, "noise", corruption.name, noise.name, int(row))
        spoiled.append(noise.spoil(value, strength, draws))
    return spoiled
