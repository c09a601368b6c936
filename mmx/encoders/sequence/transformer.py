"""A transformer over the steps of a sequence."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from mmx.encoders.base import Encoder
from mmx.encoders.padding import with_one_step
from mmx.encoders.positions import make_positions
from mmx.modalities import Features
from mmx.modalities.masking import masked_mean
from mmx.modalities.sequence import SequenceSpec


class Transformer(Encoder):
    """Layers of self-attention over all steps of a row, with sinusoidal positions.

    Use it where steps that lie far apart have to be compared, and rows are many; its time and
    memory grow with the square of the longest row (``target.sequence.max_steps`` cuts it). The
    layers are pre-norm. ``levels`` are the means of the layers, and ``pooled`` is that of the
    tokens.

    Args:
        spec: The features of a step.
        width: D, a multiple of ``heads``.
        layers: Number of layers.
        heads: Attention heads of a layer.
        mlp_width: Width of the hidden layer of each feed-forward network.
        dropout: Fraction of the activations dropped in training.

    Raises:
        ValueError: ``width`` is odd, or no multiple of ``heads``.

    Reference: Vaswani et al. 2017, arXiv 1706.03762.
    """

    def __init__(
        self,
        spec: SequenceSpec,
        *,
        width: Annotated[int, Field(ge=2, le=65_536)] = 128,
        layers: Annotated[int, Field(ge=1, le=1_024)] = 2,
        heads: Annotated[int, Field(ge=1, le=1_024)] = 4,
        mlp_width: Annotated[int, Field(ge=1, le=65_536)] = 256,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        if width % heads or width % 2:
            raise ValueError(
                f"`width` (={width}) must be even and a multiple of `heads` (={heads})"
            )
        self.width = width
        self.level_widths = (width,) * layers
        self.embed = nn.Linear(spec.width, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, mlp_width, dropout, batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        for layer in self.layers:
            # Weights of attention are not dropped: which ones would depend on the padding.
            layer.get_submodule("self_attn").dropout = 0.0  # type: ignore[assignment]
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode sequences.

        Args:
            x: ``(B, T, spec.width)``.
            lengths: ``(B,)`` int64 valid steps.

        Returns:
            Tokens ``(B, T, D)``, one level for each layer.
        """
        x, mask = with_one_step(x, lengths)
        x = self.embed(x)
        x = x + make_positions(x.shape[1], self.width, x.device).to(x.dtype)
        levels = []
        for layer in self.layers:
            # True means ignored there, the other way round than in our masks.
            x = layer(x, src_key_padding_mask=~mask)  # (B, T, D)
            levels.append(masked_mean(x, mask))
        tokens = self.norm(x)
        return Features(tokens, mask, masked_mean(tokens, mask), tuple(levels))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the embedding of the steps, the layers, then the last norm."""
        layers = ((f"layers.{layer}.",) for layer in range(len(self.layers)))
        return (("embed.",), *layers, ("norm.",))
