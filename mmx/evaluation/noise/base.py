"""The contract of every noise and every corruption."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt

from mmx.modalities import Column, Spec, Stored
from mmx.training.data import ModalityReader, Rows
from mmx.training.randomness import make_generator


@dataclass(frozen=True)
class Noise:
    """One way to corrupt a raw value.

    Attributes:
        name: The name of the noise.
        what: What its strength means, in words.
        strengths: From 0, which is none, to heavy.
        corrupt: (value, strength, generator) -> corrupted value, or None if nothing is left of
            it, so that the row lacks the modality. It does not change the given value.
        level: A strength in words.
    """

    name: str
    what: str
    strengths: tuple[float, ...]
    corrupt: Callable[[Any, float, np.random.Generator], Any]
    level: Callable[[float], str] = "{:g}".format


def add_noise(
    values: npt.NDArray[np.float64],
    strength: float,
    generator: np.random.Generator,
    *,
    stds: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Add normal noise to every number of one row; missing ones, NaN, stay missing.

    Args:
        values: ``(D,)``, or ``(T, D)`` of a sequence.
        strength: Standard deviation of the noise over that of the training rows.
        generator: Draws one number for each number.
        stds: ``(D,)`` standard deviations over the training rows.
    """
    return values + strength * stds * generator.standard_normal(values.shape)


_C = TypeVar("_C", bound=Column)
_S = TypeVar("_S", bound=Spec)


class Corruption(ABC, Generic[_C, _S]):
    """Base of all corruptions: reads the raw rows of one modality, and encodes corrupted ones.

    A modality without one is left out of the robustness curves.

    Example:
        >>> class SilentCorruption(Corruption):
        ...     \"\"\"Recordings that lose their end.\"\"\"
        ...
        ...     name = "audio"
        ...
        ...     @property
        ...     def noises(self):
        ...         return (Noise("cut", "part that is cut off", (0.0, 0.5), cut),)
        ...
        ...     def read(self, rows, stored):
        ...         return list((stored or self.view.encode(rows)).values.numpy())
        ...
        ...     def encode(self, values):
        ...         return Stored(torch.from_numpy(np.stack(values)))
        ...
        >>> def cut(value, strength, generator):
        ...     return np.where(np.arange(len(value)) < (1 - strength) * len(value), value, 0)
        >>> SilentCorruption.name, cut(np.ones(4), 0.5, None).tolist()
        ('audio', [1.0, 1.0, 0.0, 0.0])

    Args:
        view: The modality's view.
    """

    name: ClassVar[str]
    """The modality."""

    def __init__(self, view: ModalityReader) -> None:
        self.view = view
        self.column = cast(_C, view.column)
        self.spec = cast(_S, view.spec)

    @property
    @abstractmethod
    def noises(self) -> tuple[Noise, ...]:
        """The noises of this modality."""

    @abstractmethod
    def read(self, rows: Rows, stored: Stored | None) -> list[Any]:
        """Return the raw value of each row; values of absent rows are not read.

        Args:
            rows: B row numbers.
            stored: The same rows decoded, or None if they are not decoded yet.
        """

    @abstractmethod
    def encode(self, values: Sequence[Any]) -> Stored:
        """Return B raw values decoded, on the CPU; None stands for an absent value."""


def corrupt(
    corruption: Corruption[Any, Any],
    noise: Noise,
    values: Sequence[Any],
    rows: Rows,
    strength: float,
    seed: int,
) -> list[Any]:
    """Return the corrupted values of the rows, None if a row lacks the modality.

    Args:
        corruption: The modality's corruption.
        noise: One of its noises.
        values: B raw values.
        rows: B row numbers.
        strength: The strength of the noise.
        seed: Seeds the draws, with the names of modality and noise and the number of the row.
    """
    corrupted: list[Any] = []
    for value, row in zip(values, rows, strict=True):
        if not corruption.column.present[row]:
            corrupted.append(None)
            continue
        # Without the strength: a row's draws are the same at every strength.
        draws = make_generator(seed, "noise", corruption.name, noise.name, int(row))
        corrupted.append(noise.corrupt(value, strength, draws))
    return corrupted
