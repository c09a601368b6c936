"""A layer over TF-IDF vectors."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from mmx.encoders.base import Encoder
from mmx.encoders.padding import step_mask
from mmx.modalities import Features
from mmx.modalities.text import TfidfSpec


class Tfidf(Encoder):
    """One token for the text: dropout(relu(W x + b)) of its TF-IDF vector.

    Use it for long texts with few labels, where word vectors cannot be learned well.

    Args:
        spec: The terms.
        width: D, the width of the features.
        dropout: Fraction of the activations dropped in training.
    """

    def __init__(
        self,
        spec: TfidfSpec,
        *,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
    ) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(spec.width, width), nn.ReLU(), nn.Dropout(dropout))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode texts.

        Args:
            x: ``(B, V)`` TF-IDF vectors.
            lengths: Not used.

        Returns:
            Tokens ``(B, 1, D)``.
        """
        pooled = self.layers(x)  # (B, D)
        tokens = pooled[:, None]
        return Features(tokens, step_mask(None, tokens), pooled)
