"""A multilayer perceptron over the cells of a table."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from mmx.encoders.base import Encoder
from mmx.encoders.sequence import step_mask
from mmx.modalities import Features
from mmx.modalities.tabular import TabularSpec


class Mlp(Encoder):
    """Layers of dropout(relu(norm(W x + b))), with layer norm.

    Use it for numeric and categorical columns. With layer norm, unlike with batch norm, the
    result for a row does not depend on the other rows of the batch, and a batch of one row
    works. ``levels`` are the outputs of the layers.

    Args:
        spec: The columns.
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
        super().__init__()
        self.width = width
        self.level_widths = (hidden,) * (layers - 1) + (width,)
        widths = (spec.width, *self.level_widths)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Linear(before, after), nn.LayerNorm(after), nn.ReLU(), nn.Dropout(dropout)
            )
            for before, after in zip(widths, self.level_widths, strict=False)
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode rows.

        Args:
            x: ``(B, spec.width)`` standardised numbers, missing flags and one-hot categories.
            lengths: Not used.

        Returns:
            Tokens ``(B, 1, D)``, one level for each layer.
        """
        levels = []
        for layer in self.layers:
            x = layer(x)  # (B, D_k)
            levels.append(x)
        tokens = x[:, None]
        return Features(tokens, step_mask(None, tokens), x, tuple(levels))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the layers."""
        return tuple((f"layers.{index}.",) for index in range(len(self.layers)))
