"""A bidirectional LSTM over the steps of a sequence."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from mmx.encoders.base import Encoder
from mmx.encoders.bilstm import BiLstm
from mmx.encoders.padding import with_one_step
from mmx.modalities import Features
from mmx.modalities.masking import masked_mean
from mmx.modalities.sequence import SequenceSpec


class Lstm(Encoder):
    """Reads the steps in both directions; a token concatenates the states of both.

    Use it where the order of steps over the whole row matters. It is slower than ``tcn``, since
    it runs step by step.
    ``pooled`` is the mean of the tokens.

    Args:
        spec: The features of a step.
        width: D, even: half for each direction.
        layers: Number of stacked layers.
        dropout: Fraction of each layer's output dropped in training.

    Raises:
        ValueError: ``width`` is odd.

    Reference: Graves and Schmidhuber 2005, doi 10.1016/j.neunet.2005.06.042.
    """

    architecture = "lstm"

    def __init__(
        self,
        spec: SequenceSpec,
        *,
        width: Annotated[int, Field(ge=2, le=65_536)] = 128,
        layers: Annotated[int, Field(ge=1, le=1_024)] = 1,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        self.width = width
        self.lstm = BiLstm(spec.width, width=width, layers=layers, dropout=dropout)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode sequences.

        Args:
            x: ``(B, T, spec.width)``.
            lengths: ``(B,)`` int64 valid steps.

        Returns:
            Tokens ``(B, T, D)``.
        """
        x, mask = with_one_step(x, lengths)
        tokens = self.lstm(x, mask)  # (B, T, D)
        return Features(tokens, mask, masked_mean(tokens, mask))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the layers."""
        return self.lstm.depths("lstm.")
