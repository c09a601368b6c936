"""Texts as counts of terms; they are weighted by TF-IDF in the graph."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from mmx.export.inputs.base import Array, GraphInput
from mmx.json_object import Json
from mmx.modalities import Modality
from mmx.modalities.text import TextColumn, TfidfSpec, TfidfVectors
from mmx.modalities.tokenizers import describe_tokenizer


class TermsInput(GraphInput[TfidfSpec]):
    """``(V,)`` float32 counts.

    The graph makes ``(1 + ln count) · idf`` of them, scaled to norm 1, in float64 as
    scikit-learn does.
    """

    spec_type = TfidfSpec
    dtype = torch.float32
    reader = "text"
    idf: Tensor

    def __init__(self, modality: Modality[Any, Any], spec: TfidfSpec) -> None:
        super().__init__(modality, spec)
        self.register_buffer("idf", torch.tensor(spec.idf, dtype=torch.float64))

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The number of terms."""
        return (self.spec.width,)

    def read(self, column: TextColumn, row: int) -> Array:
        """Return the counts of a row."""
        found: Array = cast(TfidfVectors, self.modality).count_terms(column, [row], self.spec)[0]
        return found

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return ``(B, V)``."""
        counts = x.to(torch.float64)
        weights = (counts.clamp(min=1).log() + 1) * self.idf * (counts > 0)
        norm = weights.square().sum(1, keepdim=True).sqrt()
        return (weights / torch.where(norm > 0, norm, 1.0)).to(torch.float32), None

    def describe(self) -> Json:
        """Return how a text is divided, and the terms in the order of their counts."""
        words = self.spec.analyzer == "word"
        return {
            "analyzer": self.spec.analyzer,
            "tokenizer": describe_tokenizer(self.spec.tokenizer if words else "char", bag=words),
            "ngrams": [self.spec.least, self.spec.ngrams],
            "terms": list(self.spec.terms),
            "in_graph": "(1 + ln count) · idf, scaled to norm 1",
        }
