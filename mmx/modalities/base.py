"""The types that travel: columns, specs, stored tensors, batches and features."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

RowNumbers = Sequence[int] | npt.NDArray[np.int64]


class Column(ABC):
    """A task's raw values for one modality, row by row.

    Attributes:
        present: ``(N,)`` bool; False where the row lacks this modality.
        lost: Row to the file that it names and that does not exist; such a row lacks the
            modality.
    """

    present: npt.NDArray[np.bool_]
    lost: Mapping[int, Path] = {}

    def __len__(self) -> int:
        return len(self.present)

    @abstractmethod
    def digest(self, row: int) -> bytes:
        """Return the bytes that identify the row's content (not its path)."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """What an encoder must know of its input. Subclasses add fields that JSON can hold."""

    kinds: ClassVar[dict[str, type[Spec]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Spec.kinds[cls.__name__] = cls


def spec_to_json(spec: Spec) -> dict[str, Any]:
    """Return the spec as JSON-able data that :func:`spec_from_json` reads back."""
    return {"kind": type(spec).__name__, **dataclasses.asdict(spec)}


def spec_from_json(data: dict[str, Any]) -> Spec:
    """Return the spec that :func:`spec_to_json` wrote; lists become tuples again."""

    def tuples(value: Any) -> Any:
        return tuple(tuples(item) for item in value) if isinstance(value, list) else value

    fields = {key: tuples(value) for key, value in data.items() if key != "kind"}
    return Spec.kinds[data["kind"]](**fields)


@dataclasses.dataclass(frozen=True)
class Stored:
    """Rows of one modality in the compact dtype they are kept in.

    Attributes:
        values: ``(B, ...)``; zeros where the row is absent.
        lengths: ``(B,)`` int64 valid steps of each row, or None for fixed-size inputs.
    """

    values: Tensor
    lengths: Tensor | None = None

    def pin_memory(self) -> Stored:
        """Return the rows in memory that is copied to CUDA while it computes; for DataLoader."""
        lengths = None if self.lengths is None else self.lengths.pin_memory()
        return Stored(self.values.pin_memory(), lengths)


_C = TypeVar("_C", bound=Column)
_S = TypeVar("_S", bound=Spec)


class Modality(ABC, Generic[_C, _S]):
    """The four pure steps from raw values to encoder inputs (see the package docstring)."""

    name: ClassVar[str]
    """The modality: image, audio, text or tabular."""

    streams: ClassVar[bool] = False
    """True where decoding is dear enough that rows may be decoded on the fly."""

    @abstractmethod
    def fit(self, column: _C, rows: RowNumbers) -> _S:
        """Return the spec learned from ``rows`` of the column, the training rows."""

    @abstractmethod
    def encode(self, column: _C, rows: RowNumbers, spec: _S) -> Stored:
        """Return ``rows`` decoded. Raises DataError naming the path and row of a corrupt file."""

    @abstractmethod
    def example(self) -> _S:
        """Return a spec such as ``fit`` may learn, to try an encoder on before data is read."""

    def bytes_per_row(self, spec: _S) -> int:
        """Return an upper bound of what one stored row takes, in bytes."""
        return 0

    def inherits(self, column: _C, spec: _S) -> bool:
        """Return whether a source's spec, not a new fit, should encode this column.

        True where the spec holds a vocabulary or statistics that the weights of a
        transferred encoder rely on, and the column can be encoded by it.
        """
        return False

    def remarks(self, column: _C, rows: RowNumbers, spec: _S) -> tuple[str, ...]:
        """Return what a reader should know of how these training rows are read."""
        return ()

    def other_scale(self, spec: _S, source: _S) -> str | None:
        """Return how much larger or finer the source's inputs are, and what makes them alike.

        An encoder finds things at the scale that it has learned them.

        Args:
            spec: The target's.
            source: The source's.

        Returns:
            None where they are about alike.
        """
        return None

    def augment(self, stored: Stored) -> Stored:
        """Return a randomly changed copy, drawn per sample from the global torch RNG."""
        return stored

    @abstractmethod
    def prepare(self, stored: Stored, spec: _S) -> Tensor:
        """Return what the encoder reads, on the device of ``stored``."""


@dataclasses.dataclass(frozen=True)
class Features:
    """What an encoder says of a batch.

    Attributes:
        tokens: ``(B, T, D)``.
        mask: ``(B, T)`` bool, True where the token is real.
        pooled: ``(B, D)``.
        levels: One ``(B, D_k)`` per encoder stage, early to late; may be empty.
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor
    levels: tuple[Tensor, ...] = ()

    def map(self, function: Any) -> Features:
        """Return the features with ``function`` applied to each tensor."""
        return Features(
            function(self.tokens),
            function(self.mask),
            function(self.pooled),
            tuple(function(level) for level in self.levels),
        )


@dataclasses.dataclass(frozen=True)
class Batch:
    """One batch on its device.

    Attributes:
        inputs: Modality to encoder input; zeros where absent.
        lengths: Modality to ``(B,)`` int64 valid steps, only for sequences.
        present: Modality to ``(B,)`` bool.
        target: ``(B,)`` int64 classes, ``(B, C)`` float multi-label, ``(B,)`` float regression.
        features: Modality to features computed earlier by a frozen encoder; such a
            modality has no entry in ``inputs``.
        complete: Modalities that no row of the batch lacks, known without asking the device.
    """

    inputs: dict[str, Tensor]
    lengths: dict[str, Tensor]
    present: dict[str, Tensor]
    target: Tensor
    features: dict[str, Features] = dataclasses.field(default_factory=dict)
    complete: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.target)


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Rows of a split as their encoders see them, for what is fitted without gradients.

    Attributes:
        features: Modality to features of all N rows; rows where it is absent may hold anything.
        present: Modality to ``(N,)`` bool.
        target: ``(N,)`` int64 classes, ``(N, C)`` float multi-label, ``(N,)`` float regression.
    """

    features: dict[str, Features]
    present: dict[str, Tensor]
    target: Tensor

    def __len__(self) -> int:
        return len(self.target)


def as_rows(rows: RowNumbers) -> npt.NDArray[np.int64]:
    """Return row numbers as an int64 array."""
    return np.asarray(rows, dtype=np.int64)
