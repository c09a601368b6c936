"""Texts as ids of words, by a vocabulary of the training rows."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.export.inputs.base import Array, GraphInput
from mmx.json_object import Json
from mmx.modalities.text import FIRST_WORD, PADDING, UNKNOWN, TextColumn, TokenSpec
from mmx.modalities.tokenizers import describe_tokenizer


class TokensInput(GraphInput[TokenSpec]):
    """``(T,)`` int64 ids."""

    spec_type = TokenSpec
    dtype = torch.int64
    reader = "text"
    padding = PADDING

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Any number of tokens."""
        return (None,)

    @property
    def longest(self) -> int | None:
        """The tokens from which a text is cut."""
        return self.spec.max_tokens

    def read(self, column: TextColumn, row: int) -> Array:
        """Return the ids of a row."""
        stored = self.modality.encode(column, [row], self.spec)
        length = 0 if stored.lengths is None else int(stored.lengths[0])
        return stored.values[0, :length].numpy()

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the ids as they are."""
        return x, lengths

    def describe(self) -> Json:
        """Return how a text is divided, and the words in the order of their ids."""
        return {
            "tokenizer": describe_tokenizer(self.spec.tokenizer),
            "max_tokens": self.spec.max_tokens,
            "unknown": UNKNOWN,
            "first_word": FIRST_WORD,
            "words": list(self.spec.words),
        }
