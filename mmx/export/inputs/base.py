"""The contract of every kind of input of an exported graph.

Shape legend: ``B`` batch, ``T`` steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmx.json_object import Json
from mmx.modalities import Column, Modality, Spec
from mmx.training.data import Rows

S = TypeVar("S", bound=Spec)
Array = npt.NDArray[Any]


class GraphInput(nn.Module, ABC, Generic[S]):
    """How one input enters an exported graph: base of all kinds.

    What can be traced is done in the graph, so that the graph takes values as they are read:
    pixels, samples, ids, numbers in their own unit. What is done before, a reader does beside the
    model (:mod:`mmx.export.readers`), as :meth:`describe` says in ``model.json``.

    Args:
        modality: How the run reads the input.
        spec: What was learned from its training rows.

    Attributes:
        spec_type: The specs that the kind serves; a subclass of one has a kind of its own.
        dtype: Of the values.
        reader: The file of :mod:`mmx.export.readers` that reads such an input.
        packages: What that reader needs, besides numpy.
        any_length: Whether rows of any length are traced; otherwise all are padded to the longest.
        padding: The value of steps behind the end of a row.
    """

    spec_type: ClassVar[type[Spec]]
    dtype: ClassVar[torch.dtype]
    reader: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    any_length: ClassVar[bool] = True
    padding: float = 0

    def __init__(self, modality: Modality[Any, Any], spec: S) -> None:
        super().__init__()
        self.modality = modality
        self.spec = spec

    @property
    @abstractmethod
    def shape(self) -> tuple[int | None, ...]:
        """The shape of one row's values; None is an axis of any length, the first alone."""

    @property
    def longest(self) -> int | None:
        """The most steps of a row, where rows have any length; None for no limit."""
        return None

    @property
    def has_lengths(self) -> bool:
        """Whether rows differ in their number of steps, which then is an input too."""
        return None in self.shape

    @abstractmethod
    def read(self, column: Any, row: int) -> Array:
        """Return the values of a row that has the input, as the reader returns them."""

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return what the encoder reads.

        Args:
            x: ``(B, *shape)``.
            lengths: ``(B,)`` steps of each row; None for a fixed shape.
        """

    @abstractmethod
    def describe(self) -> Json:
        """Return what is done to a raw value before the graph, for ``model.json``."""

    def files(self) -> dict[str, str]:
        """Return name to content of the files that the reader needs."""
        return {}

    def collect(
        self, column: Column, rows: Rows, fixed: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the values of rows and their lengths; zeros where a row lacks the input.

        Args:
            column: Of the task.
            rows: Row numbers.
            fixed: Steps of the values, where the graph takes one number of them alone.
        """
        dtype = torch.empty(0, dtype=self.dtype).numpy().dtype
        blank = np.zeros([size or 0 for size in self.shape], dtype=dtype)
        cells = [
            np.asarray(self.read(column, int(row)), dtype=dtype) if column.present[row] else blank
            for row in rows
        ]
        if not self.has_lengths:
            return torch.from_numpy(np.stack(cells)), None
        lengths = [len(cell) for cell in cells]
        steps = fixed or max(1, *lengths)
        values = np.full((len(cells), steps, *blank.shape[1:]), self.padding, dtype=dtype)
        for value, cell in zip(values, cells, strict=True):
            value[: len(cell)] = cell
        return torch.from_numpy(values), torch.tensor(lengths)
