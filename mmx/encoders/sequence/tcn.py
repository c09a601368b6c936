"""A temporal convolutional network over the steps of a sequence."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from mmx.encoders.base import Encoder
from mmx.encoders.padding import with_one_step, zero_padding
from mmx.modalities import Features
from mmx.modalities.masking import masked_mean
from mmx.modalities.sequence import SequenceSpec


class Tcn(Encoder):
    """Residual blocks of two dilated convolutions each; a block looks twice as far as the last.

    Use it for long sequences: all steps are computed at once, and a token of ``layers`` blocks
    sees 2 (2^layers - 1) (kernel - 1) + 1 steps. The network is not causal: a token looks to
    both sides. Layer norm in place of weight norm keeps rows apart from each other and from their
    padding. ``levels`` are the means of the blocks, and ``pooled`` is that of the last.

    Args:
        spec: The features of a step.
        width: D, the channels of every block.
        layers: Number of blocks.
        kernel: Steps that a convolution covers, odd.
        dropout: Fraction of the activations dropped in training.

    Raises:
        ValueError: ``kernel`` is even.

    Reference: Bai, Kolter and Koltun 2018, arXiv 1803.01271.
    """

    def __init__(
        self,
        spec: SequenceSpec,
        *,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        layers: Annotated[int, Field(ge=1, le=20)] = 4,
        kernel: Annotated[int, Field(ge=1, le=1_023)] = 3,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        if not kernel % 2:
            raise ValueError(f"`kernel` (={kernel}) must be odd, so that a step is its middle")
        self.width = width
        self.level_widths = (width,) * layers
        self.embed = nn.Linear(spec.width, width)
        self.blocks = nn.ModuleList(
            _Block(width, kernel=kernel, dilation=2**block, dropout=dropout)
            for block in range(layers)
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode sequences.

        Args:
            x: ``(B, T, spec.width)``.
            lengths: ``(B,)`` int64 valid steps.

        Returns:
            Tokens ``(B, T, D)``, one level for each block.
        """
        x, mask = with_one_step(x, lengths)
        x = self.embed(x)
        levels = []
        for block in self.blocks:
            x = block(x, mask)  # (B, T, D)
            levels.append(masked_mean(x, mask))
        return Features(x, mask, levels[-1], tuple(levels))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the embedding of the steps, then the blocks."""
        return (("embed.",), *((f"blocks.{block}.",) for block in range(len(self.blocks))))


class _Block(nn.Module):
    """x + f(f(x)), where f is dropout(relu(norm(convolution)))."""

    def __init__(self, width: int, *, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        # Keeps T: a kernel that is dilated by d reaches d (k - 1) / 2 to each side.
        around = dilation * (kernel - 1) // 2
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding=around, dilation=dilation) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return ``(B, T, D)`` for ``x`` ``(B, T, D)`` and ``mask`` ``(B, T)``."""
        inner = x
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            # Zeros behind a row's end, as in front of its start: padding is not read.
            inner = convolution(zero_padding(inner, mask).transpose(1, 2)).transpose(1, 2)
            inner = self.dropout(norm(inner).relu())
        return x + inner
