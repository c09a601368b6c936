"""A bidirectional LSTM over word vectors."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from mmx.encoders.base import Encoder
from mmx.encoders.bilstm import BiLstm
from mmx.encoders.padding import masked_max
from mmx.encoders.text.words import Words
from mmx.modalities import Features
from mmx.modalities.text import TokenSpec


class Lstm(Encoder):
    """Reads the words in both directions; a token concatenates the states of both.

    Use it where the order of words over a whole sentence matters, such as negation.
    ``pooled`` is the maximum over the tokens.

    Args:
        spec: The vocabulary.
        width: D, even: half for each direction.
        layers: Number of stacked LSTM layers.
        embedding: Width of a word vector.
        dropout: Fraction of the word vectors, and of each layer's output, dropped in training.

    Raises:
        ValueError: ``width`` is odd.

    Reference: Conneau et al. 2017, arXiv 1705.02364.
    """

    architecture = "lstm"

    def __init__(
        self,
        spec: TokenSpec,
        *,
        width: Annotated[int, Field(ge=2, le=65_536)] = 128,
        layers: Annotated[int, Field(ge=1, le=1_024)] = 1,
        embedding: Annotated[int, Field(ge=1, le=65_536)] = 128,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        self.width = width
        self.words = Words(spec, width=embedding, dropout=dropout)
        self.lstm = BiLstm(embedding, width=width, layers=layers, dropout=dropout)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode texts.

        Args:
            x: ``(B, T)`` int64 word ids.
            lengths: ``(B,)`` int64 valid tokens.

        Returns:
            Tokens ``(B, T, D)``.
        """
        words, mask = self.words(x, lengths)  # (B, T, embedding), (B, T)
        tokens = self.lstm(words, mask)  # (B, T, D)
        return Features(tokens, mask, masked_max(tokens, mask))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the word vectors, then the layers."""
        return (("words.",), *self.lstm.depths("lstm."))
