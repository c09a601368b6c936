"""A bidirectional GRU over the steps of a sequence."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from mmx.encoders.base import Encoder
from mmx.encoders.bilstm import BiGru
from mmx.encoders.padding import with_one_step
from mmx.modalities import Features
from mmx.modalities.masking import masked_mean
from mmx.modalities.sequence import SequenceSpec


class Gru(Encoder):
    """Reads the steps in both directions; a token concatenates the states of both.

    Use it as ``lstm``: it has a quarter fewer parameters, which helps where rows are few.
    ``pooled`` is the mean of the tokens.

    Args:
        spec: The features of a step.
        width: D, even: half for each direction.
        layers: Number of stacked layers.
        dropout: Fraction of each layer's output dropped in training.

    Raises:
        ValueError: ``width`` is odd.

    Reference: Cho et al. 2014, arXiv 1406.1078.
    """

    architecture = "gru"

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
        self.gru = BiGru(spec.width, width=width, layers=layers, dropout=dropout)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode sequences.

        Args:
            x: ``(B, T, spec.width)``.
            lengths: ``(B,)`` int64 valid steps.

        Returns:
            Tokens ``(B, T, D)``.
        """
        x, mask = with_one_step(x, lengths)
        tokens = self.gru(x, mask)  # (B, T, D)
        return Features(tokens, mask, masked_mean(tokens, mask))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the layers."""
        return self.gru.depths("gru.")
