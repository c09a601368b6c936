"""Columns of which each row is a file, the content of one, or an array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from typing_extensions import Self

from mmx.modalities.base import Column, Sources, join_rows
from mmx.modalities.files import FileOrBytes, read_file


class SourceColumn(Column):
    """Base of columns that are read row by row from what each row is given as.

    Args:
        sources: For each row a path, the bytes of a file, an array, or None where it has none;
            or one array with a row for each.

    Attributes:
        what: What a row is called in messages, such as ``image``.
    """

    what: ClassVar[str]

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.present = np.array([source is not None for source in sources], dtype=np.bool_)

    @property
    def sources(self) -> Sources:
        """The files, their contents or the arrays."""
        return self._sources

    def stack(self, others: Sequence[Self]) -> Self:
        """Return a column with the rows of others after those of this one."""
        return type(self)(join_rows([self.sources, *(each.sources for each in others)]))

    def digest(self, row: int) -> bytes:
        """Return the bytes of the file, or of shape and numbers of the array."""
        source = self.sources[row]
        if source is None:
            return b""
        if isinstance(source, FileOrBytes):
            return read_file(self.what, source, self.name_row(row))
        array = np.asarray(source)
        return str(array.shape).encode() + array.tobytes()
