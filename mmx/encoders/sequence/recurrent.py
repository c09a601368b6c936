"""What the recurrent encoders of sequences have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

from pydantic import Field
from torch import Tensor

from mmx.encoders.base import Encoder
from mmx.encoders.bilstm import BiLstm
from mmx.encoders.padding import with_one_step
from mmx.modalities import Features
from mmx.modalities.masking import masked_mean
from mmx.modalities.sequence import SequenceSpec


class Recurrent(Encoder):
    """Base of the encoders that read the steps in both directions.

    A token concatenates the states of both directions; ``pooled`` is the mean of the tokens.
    Tensors have the name of the architecture in front.

    Args:
        spec: The features of a step.
        width: D, even: half for each direction.
        layers: Number of stacked layers.
        dropout: Fraction of each layer's output dropped in training.

    Raises:
        ValueError: ``width`` is odd.
    """

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
        cells = self.make_cells(spec.width, width=width, layers=layers, dropout=dropout)
        self.add_module(self.architecture, cells)

    @staticmethod
    @abstractmethod
    def make_cells(inputs: int, *, width: int, layers: int, dropout: float) -> BiLstm:
        """Return what reads the steps; see :class:`~mmx.encoders.bilstm.BiLstm`."""

    @property
    def cells(self) -> BiLstm:
        """What reads the steps."""
        cells: BiLstm = getattr(self, self.architecture)
        return cells

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode sequences.

        Args:
            x: ``(B, T, spec.width)``.
            lengths: ``(B,)`` int64 valid steps.

        Returns:
            Tokens ``(B, T, D)``.
        """
        x, mask = with_one_step(x, lengths)
        tokens = self.cells(x, mask)  # (B, T, D)
        return Features(tokens, mask, masked_mean(tokens, mask))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the layers."""
        return self.cells.depths(f"{self.architecture}.")
