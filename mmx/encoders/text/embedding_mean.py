"""The mean of word vectors."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from mmx.encoders.base import Encoder
from mmx.encoders.text.words import Words
from mmx.modalities import Features
from mmx.modalities.masking import masked_mean
from mmx.modalities.text import TokenSpec


class EmbeddingMean(Encoder):
    """Represents a text by the mean of its word vectors, in any order.

    Use it for topics, where the words decide and not their order, and as a fast reference;
    word pairs in the vocabulary add some of the order.

    Args:
        spec: The vocabulary.
        width: D of a word vector.
        dropout: Fraction of the activations dropped in training.

    Reference: Joulin et al. 2017, arXiv 1607.01759.
    """

    ignores_order = True

    def __init__(
        self,
        spec: TokenSpec,
        *,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        self.width = width
        self.words = Words(spec, width=width, dropout=dropout)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode texts.

        Args:
            x: ``(B, T)`` int64 word ids.
            lengths: ``(B,)`` int64 valid tokens.

        Returns:
            Tokens ``(B, T, D)``, the word vectors.
        """
        tokens, mask = self.words(x, lengths)
        return Features(tokens, mask, masked_mean(tokens, mask))
