"""A linear map of a vector."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from mmx.encoders.base import Encoder
from mmx.encoders.padding import step_mask
from mmx.modalities import Features
from mmx.modalities.vector import VectorSpec


class Linear(Encoder):
    """One token for the vector: W x + b.

    Use it for embeddings of a published model, which a linear map separates already, and for
    very few labels: with a linear head behind it, it is a linear probe of the embedding.

    Args:
        spec: The vector.
        width: D, the width of the features.
    """

    def __init__(
        self, spec: VectorSpec, *, width: Annotated[int, Field(ge=1, le=65_536)] = 128
    ) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(spec.width, width)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode vectors.

        Args:
            x: ``(B, spec.width)``.
            lengths: Not used.

        Returns:
            Tokens ``(B, 1, D)``.
        """
        tokens = self.linear(x)[:, None]
        return Features(tokens, step_mask(None, tokens), tokens[:, 0])
