"""A multilayer perceptron over the cells of a table."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mmx.encoders.dense import Dense
from mmx.modalities.tabular import TabularSpec


class Mlp(Dense):
    """Layers of dropout(relu(norm(W x + b))), with layer norm.

    Use it for numeric and categorical columns. With layer norm, unlike with batch norm, the
    result for a row does not depend on the other rows of the batch, and a batch of one row
    works. ``levels`` are the outputs of the layers.

    Args:
        spec: The columns; a row is standardised numbers, missing flags and one-hot categories.
        width: D, the width of the last layer.
        hidden: Width of the layers before it.
        layers: Number of layers.
        dropout: Fraction of the activations dropped in training.
    """

    def __init__(
        self,
        spec: TabularSpec,
        *,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        hidden: Annotated[int, Field(ge=1, le=65_536)] = 128,
        layers: Annotated[int, Field(ge=1, le=1_024)] = 2,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__(spec.width, width=width, hidden=hidden, layers=layers, dropout=dropout)
