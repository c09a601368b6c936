"""Texts as ids: what words and sub-words have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol, TypeVar, cast

import torch
from torch import Tensor

from mmx.export.inputs.base import Array, GraphInput
from mmx.json_object import Json
from mmx.modalities import Spec
from mmx.modalities.text import TextColumn


class _CutSpec(Protocol):
    max_tokens: int


S = TypeVar("S", bound=Spec)


class IdsInput(GraphInput[S]):
    """``(T,)`` int64 ids, which the graph takes as they are; base of the kinds of tokens."""

    dtype = torch.int64

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Any number of tokens."""
        return (None,)

    @property
    def longest(self) -> int | None:
        """The tokens from which a text is cut."""
        return cast(_CutSpec, self.spec).max_tokens

    def read(self, column: TextColumn, row: int) -> Array:
        """Return the ids of a row."""
        stored = self.modality.encode(column, [row], self.spec)
        length = 0 if stored.lengths is None else int(stored.lengths[0])
        return stored.values[0, :length].numpy()

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the ids as they are."""
        return x, lengths

    @abstractmethod
    def describe(self) -> Json:
        """Return how a text is divided; see :class:`GraphInput`."""
