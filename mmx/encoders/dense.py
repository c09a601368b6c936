"""A multilayer perceptron over rows of numbers."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from mmx.encoders.base import Encoder
from mmx.encoders.padding import step_mask
from mmx.modalities import Features


class Dense(Encoder):
    """Layers of dropout(relu(norm(W x + b))), with layer norm; ``levels`` are their outputs.

    With layer norm, unlike with batch norm, the result for a row does not depend on the other
    rows of the batch, and a batch of one row works.

    Args:
        inputs: Numbers of a row.
        width: D, the width of the last layer.
        hidden: Width of the layers before it.
        layers: Number of layers.
        dropout: Fraction of the activations dropped in training.
    """

    @abstractmethod
    def __init__(
        self, inputs: int, *, width: int, hidden: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.width = width
        self.level_widths = (hidden,) * (layers - 1) + (width,)
        widths = (inputs, *self.level_widths)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Linear(before, after), nn.LayerNorm(after), nn.ReLU(), nn.Dropout(dropout)
            )
            for before, after in zip(widths, self.level_widths, strict=False)
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode rows.

        Args:
            x: ``(B, inputs)``.
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
