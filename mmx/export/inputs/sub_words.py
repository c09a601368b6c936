"""Texts as ids of sub-words, by a published tokenizer."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from mmx.export.inputs.base import Array, GraphInput
from mmx.json_object import Json
from mmx.modalities import Modality
from mmx.modalities.sub_words import SubWordSpec
from mmx.modalities.text import TextColumn


class SubWordsInput(GraphInput[SubWordSpec]):
    """``(T,)`` int64 ids, special tokens among them."""

    spec_type = SubWordSpec
    dtype = torch.int64
    reader = "sub_words"
    packages = ("tokenizers",)

    def __init__(self, modality: Modality[Any, Any], spec: SubWordSpec) -> None:
        super().__init__(modality, spec)
        self.padding = spec.padding

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
        """Return by which file a text is divided."""
        (name,) = self.files()
        return {"tokenizer": name, "max_tokens": self.spec.max_tokens, "clean": None}

    def files(self) -> dict[str, str]:
        """Return the tokenizer whole; inputs with the same one share the file."""
        digest = hashlib.blake2b(self.spec.tokenizer.encode(), digest_size=4).hexdigest()
        return {f"tokenizer-{digest}.json": self.spec.tokenizer}
