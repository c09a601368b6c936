"""The contract of every modality, and its types: columns, specs, stored rows, batches, features."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor
from typing_extensions import Self

from mmx.errors import DataError
from mmx.modalities.members import Member
from mmx.stage_id import Role

Sources = Sequence[object] | npt.NDArray[Any]
"""What each row of a column is read from: files, their contents, arrays, None."""
RowNumbers = Sequence[int] | npt.NDArray[np.int64]
Cells = Literal["file", "texts", "values", "numbers", "array"]
"""What the cells of a table hold for a modality: ``file`` is a path or the bytes of a file, in one
column; ``texts`` are joined by a space; ``values`` are numbers and words, a column each;
``numbers`` are numbers or lists of them, or one column of ``.npy`` files; ``array`` is a list of
lists or a ``.npy`` file, in one column."""


class Column(ABC):
    """A task's raw values of one modality, row by row.

    Attributes:
        present: ``(N,)`` bool; False where the row lacks this modality.
        lost: Row to its file, for rows with a file that does not exist; such a row lacks the
            modality.
        files: The files of all rows, where a table names them; None where they are not known.
        columns: Name to the cells of all rows, None for a missing one, where several columns of a
            table make up the modality.
    """

    cells: ClassVar[Cells] = "file"
    """How a table's cells become the raw values of this kind of column."""

    columns: Mapping[str, Sequence[object]] = {}
    present: npt.NDArray[np.bool_]
    lost: Mapping[int, Path] = {}
    files: Sequence[Path] | None = None

    decimal: str | None = None
    """The decimal mark of numbers that are text, if it is known."""
    row_names: Callable[[int], str] | None = None
    """What the rows are called where they come from; None: their numbers, from 1."""

    @property
    def sources(self) -> Sources | None:
        """What each row is read from, such as files; None where the values are in memory."""
        return None

    def __len__(self) -> int:
        return len(self.present)

    def name_row(self, row: int) -> str:
        """Return what a row is called in messages, such as ``row 3 of b.csv``."""
        return f"row {row + 1}" if self.row_names is None else self.row_names(row)

    def find_file(self, row: int) -> Path | Member | None:
        """Return the file of a row; None where its content is not in a file."""
        source = self.sources[row] if self.sources is not None else None
        return source if isinstance(source, (Path, Member)) else None

    @abstractmethod
    def digest(self, row: int) -> bytes:
        """Return the bytes that identify the content of a row (not its path)."""

    def stack(self, others: Sequence[Self]) -> Self:
        """Return a column with the rows of this one and then of others, in their order.

        Raises:
            DataError: Columns of this kind cannot be stacked.
        """
        raise DataError(
            "the inputs are columns with names of their own, and cannot share an encoder",
            tip="leave this modality out of share_encoders",
        )

    @classmethod
    def is_in(cls, path: Path) -> bool:
        """Return whether a file that exists holds this modality, as not every video has sound."""
        return True


@dataclasses.dataclass(frozen=True)
class Spec:
    """What an encoder must know about its input. Subclasses add fields that JSON can hold."""

    kinds: ClassVar[dict[str, type[Spec]]] = {}
    """Subclasses by name, so that :func:`spec_from_json` finds them."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Spec.kinds[cls.__name__] = cls


def spec_to_json(spec: Spec) -> dict[str, Any]:
    """Return the spec as data that JSON can hold and :func:`spec_from_json` reads."""
    return {"kind": type(spec).__name__, **dataclasses.asdict(spec)}


def spec_from_json(data: dict[str, Any]) -> Spec:
    """Return the spec that :func:`spec_to_json` wrote; lists become tuples again."""

    def make_tuples(value: Any) -> Any:
        return tuple(make_tuples(item) for item in value) if isinstance(value, list) else value

    fields = {key: make_tuples(value) for key, value in data.items() if key != "kind"}
    return Spec.kinds[data["kind"]](**fields)


@dataclasses.dataclass(frozen=True)
class Stored:
    """Rows of one modality in a compact dtype.

    Attributes:
        values: ``(B, ...)``; zeros where the row lacks the modality.
        lengths: ``(B,)`` int64 valid steps of each row, or None for fixed-size inputs.
    """

    values: Tensor
    lengths: Tensor | None = None

    def pin_memory(self) -> Stored:
        """Return the rows in pinned memory, for asynchronous copies to CUDA by a DataLoader."""
        lengths = None if self.lengths is None else self.lengths.pin_memory()
        return Stored(self.values.pin_memory(), lengths)


_C = TypeVar("_C", bound=Column)
_S = TypeVar("_S", bound=Spec)


class Modality(ABC, Generic[_C, _S]):
    """Base of all modalities: four pure steps from raw values to the inputs of an encoder.

    Write a modality to read a kind of input that is none of image, audio, text or tabular, or
    to read one of these in another way.

    Example:
        >>> import torch
        >>> class Points(Column):
        ...     def __init__(self, values):
        ...         self.values, self.present = values, np.ones(len(values), dtype=np.bool_)
        ...
        ...     def digest(self, row):
        ...         return self.values[row].tobytes()
        >>> @dataclasses.dataclass(frozen=True)
        ... class CentreSpec(Spec):
        ...     mean: float
        >>> class Centred(Modality[Points, CentreSpec]):
        ...     name = "points"
        ...
        ...     def fit(self, column, rows):
        ...         return CentreSpec(mean=float(column.values[rows].mean()))
        ...
        ...     def encode(self, column, rows, spec):
        ...         return Stored(torch.from_numpy(column.values[rows] - spec.mean))
        ...
        ...     def example(self):
        ...         return CentreSpec(mean=0.0)
        ...
        ...     def prepare(self, stored, spec):
        ...         return stored.values.to(torch.float32)
        >>> points, modality = Points(np.array([[1.0], [3.0], [8.0]])), Centred()
        >>> spec = modality.fit(points, [0, 1])  # training rows only
        >>> modality.prepare(modality.encode(points, [2], spec), spec)
        tensor([[6.]])
    """

    name: ClassVar[str]
    """The modality: image, audio, video, text, tabular, vector or sequence."""

    column_type: ClassVar[type[Column]]
    """The columns that it reads; a table makes one of the cells that ``columns`` names."""

    streams: ClassVar[bool] = False
    """Whether decoding is slow and rows are large, so that rows may be decoded on the fly."""

    @abstractmethod
    def fit(self, column: _C, rows: RowNumbers) -> _S:
        """Return the spec learned from ``rows`` of the column, the training rows."""

    @abstractmethod
    def encode(self, column: _C, rows: RowNumbers, spec: _S) -> Stored:
        """Return ``rows`` decoded.

        Raises:
            DataError: A file is corrupt; the message names its path and row.
        """

    @abstractmethod
    def example(self) -> _S:
        """Return a spec that ``fit`` might return, to check encoders before data is read."""

    def bytes_per_row(self, spec: _S) -> int:
        """Return an upper bound of the size of one stored row, in bytes."""
        return 0

    def estimate_lengths(self, column: _C, rows: RowNumbers) -> npt.NDArray[np.int64] | None:
        """Return about how long each of the rows is, without decoding it; None if all are alike.

        Only their order counts: rows of like length are encoded together. Asked for where
        :attr:`streams`; elsewhere ``Stored.lengths`` says it exactly.
        """
        return None

    def inherits(self, column: _C, spec: _S) -> bool:
        """Return whether a target should use its source's spec in place of a new fit.

        This is so where the spec holds a vocabulary or statistics that the weights of a
        transferred encoder depend on, and the target's column can be encoded with it.

        Args:
            column: The target's column.
            spec: The source's spec.
        """
        return False

    def remarks(self, column: _C, rows: RowNumbers, spec: _S) -> tuple[str, ...]:
        """Return notes for the user on how these training rows are read."""
        return ()

    def remarks_on_other_rows(
        self, column: _C, rows: RowNumbers, spec: _S, split: str
    ) -> tuple[str, ...]:
        """Return notes for the user on rows that the spec was not learned from.

        Args:
            column: The task's column.
            rows: Rows of a split.
            spec: What was learned from the training rows.
            split: What the split is called in notes, such as ``validation``.
        """
        return ()

    def count_unknown(self, column: _C, rows: RowNumbers, spec: _S) -> tuple[int, int] | None:
        """Return how many words of the rows the spec does not know, and how many there are.

        None where the rows have no words.

        Args:
            column: The task's column.
            rows: Row numbers.
            spec: What was learned from the training rows.
        """
        return None

    def read_numbers(
        self, column: _C, rows: RowNumbers, spec: _S
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Return the numbers of each numeric column, NaN where missing; empty without columns.

        Args:
            column: The task's column.
            rows: Row numbers.
            spec: What was learned from the training rows.
        """
        return {}

    def other_scale(self, spec: _S, source: _S) -> str | None:
        """Return a sentence on a difference in scale between source and target, or None.

        The features of an encoder depend on the scale of the inputs it was trained on. The
        sentence says what to type to give both tasks the same scale.

        Args:
            spec: The target's spec.
            source: The source's spec.
        """
        return None

    def augment(self, stored: Stored) -> Stored:
        """Return a randomly changed copy; draws are per row, from the global torch RNG."""
        return stored

    @property
    def augments(self) -> bool:
        """Whether :meth:`augment` changes rows, with the options that were given."""
        return type(self).augment is not Modality.augment

    def note_unaugmented(self, role: Role) -> str:
        """Return what to say where rows are read once and so are not augmented; "" for nothing.

        Args:
            role: Of the task, for what to type.
        """
        return ""

    @abstractmethod
    def prepare(self, stored: Stored, spec: _S) -> Tensor:
        """Return the input of the encoder, on the device of ``stored``."""


@dataclasses.dataclass(frozen=True)
class Features:
    """The output of an encoder for a batch.

    Attributes:
        tokens: ``(B, T, D)``.
        mask: ``(B, T)`` bool, True where the token is valid.
        pooled: ``(B, D)``.
        levels: One ``(B, D_k)`` for each encoder stage, early to late; may be empty.
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
        inputs: Modality to the input of its encoder; zeros where absent.
        lengths: Modality to ``(B,)`` int64 valid steps, only for sequences.
        present: Modality to ``(B,)`` bool.
        target: ``(B,)`` int64 classes, ``(B, C)`` float multi-label, ``(B,)`` float regression.
        features: Modality to features computed earlier by a frozen encoder; such a
            modality has no entry in ``inputs``.
        complete: Modalities that every row of the batch has; reading it needs no
            synchronisation with the device.
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
    """Features of the rows of a split, for parts that are fitted without gradients.

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


def join_rows(parts: Sequence[Any]) -> Any:
    """Return the rows of several columns, each an array or a sequence, one after the other."""
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return [row for part in parts for row in part]


def as_rows(rows: RowNumbers) -> npt.NDArray[np.int64]:
    """Return row numbers as an int64 array."""
    return np.asarray(rows, dtype=np.int64)
