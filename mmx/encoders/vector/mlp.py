"""A multilayer perceptron over a vector."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mmx.encoders.dense import Dense
from mmx.modalities.vector import VectorSpec


class Mlp(Dense):
    """Layers of dropout(relu(norm(W x + b))), with layer norm.

    Use it for features whose items have to be combined before they tell something.
    ``levels`` are the outputs of the layers.

    Args:
        spec: The vector.
        width: D, the width of the last layer.
        hidden: Width of the layers before it.
        layers: Number of layers.
        dropout: Fraction of the activations dropped in training.
    """

    def __init__(
        self,
        spec: VectorSpec,
        *,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        hidden: Annotated[int, Field(ge=1, le=65_536)] = 128,
        layers: Annotated[int, Field(ge=1, le=1_024)] = 2,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__(spec.width, width=width, hidden=hidden, layers=layers, dropout=dropout)
