"""Masked attention and the transformer blocks that use it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mmx.modalities.masking import is_known_full

HIDDEN = 2  # width of a feed-forward's hidden layer, as a multiple of its input


class MultiheadAttention(nn.Module):
    """Multi-head attention that returns exactly zero for a query without any valid key.

        MHA(x, y) = O [h_1; …; h_H],  h_k = softmax((Q_k x)(K_k y)ᵀ / √d) V_k y

    d = ⌈D / H⌉, so any width works with any number of heads. There are no biases: a bias of
    the keys would cancel in the softmax, and biases of the values and of O would make the
    output non-zero where all keys are masked.

    Args:
        width: D, of queries, keys and output.
        heads: H.
        dropout: Fraction of the output dropped in training.
    """

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        # Rounded up without floats: -(-a // b) is ⌈a / b⌉.
        inner = heads * -(-width // heads)  # H · ⌈D / H⌉
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.output = nn.Linear(inner, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """Return ``(B, T, D)``.

        Args:
            x: ``(B, T, D)``, the tokens that the queries are computed from.
            y: ``(B, S, D)``, the tokens of keys and values; they must be finite even where
                they are masked.
            mask: ``(B, S)`` bool, True for the tokens of ``y`` that may be attended to.
        """
        query, key, value = (
            # unflatten splits H · d into (H, d); the heads then go before the tokens, as SDPA wants
            # them.
            linear(z).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, H, T or S, d)
            for linear, z in ((self.query, x), (self.key, y), (self.value, y))
        )
        if is_known_full(mask):
            heads = F.scaled_dot_product_attention(query, key, value)
            return self._join(heads)
        blind = ~mask.any(1)  # (B,), rows without a valid key
        # Their keys are unmasked here and their result is set to zero below, since a softmax
        # over nothing is NaN, and so is its gradient.
        seen = mask | blind[:, None]
        # The mask is the same for all heads and queries.
        seen = seen[:, None, None, :].expand(-1, -1, x.shape[1], -1)  # (B, 1, T, S)
        heads = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return self._join(heads.masked_fill(blind[:, None, None, None], 0.0))

    def _join(self, heads: Tensor) -> Tensor:
        """Return the output ``(B, T, D)`` of heads ``(B, H, T, d)``."""
        # (B, T, H, d) → (B, T, H · d) for the output layer.
        attended: Tensor = self.dropout(self.output(heads.transpose(1, 2).flatten(2)))
        return attended


class FeedForward(nn.Sequential):
    """Two layers applied to each token: FF(x) = W₂ gelu(W₁ x + b₁) + b₂, ``(..., D)``.

    Args:
        width: D; the hidden layer has twice as many units.
        dropout: Fraction of the output dropped in training.
    """

    def __init__(self, width: int, *, dropout: float) -> None:
        super().__init__(
            nn.Linear(width, HIDDEN * width),
            nn.GELU(),
            nn.Linear(HIDDEN * width, width),
            nn.Dropout(dropout),
        )


class SelfBlock(nn.Module):
    """A pre-norm transformer block in which tokens attend to each other.

        y = z + MHA(LN(z), LN(z)),  z' = y + FF(LN(y))

    Args:
        width: D.
        heads: Heads of the attention.
        dropout: Fraction of the output of attention and feed-forward dropped in training.
    """

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = MultiheadAttention(width, heads=heads, dropout=dropout)
        self.forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, dropout=dropout)

    def forward(self, z: Tensor, mask: Tensor, *, first: int | None = None) -> Tensor:
        """Return the tokens after the block.

        Args:
            z: ``(B, T, D)``.
            mask: ``(B, T)`` bool, True for the tokens that may be attended to.
            first: How many tokens to return, from the first; None: all T.

        Returns:
            ``(B, first, D)``.
        """
        # Only the wanted tokens are queries, while all tokens are keys and values.
        normed = self.norm(z)
        z = z[:, :first] + self.attention(normed[:, :first], normed, mask)
        after: Tensor = z + self.feed_forward(self.forward_norm(z))
        return after


class CrossBlock(nn.Module):
    """A pre-norm transformer block in which tokens attend to the tokens of a source.

        y = z + MHA(LN(z), LN'(s)),  z' = y + FF(LN(y))

    Args:
        width: D.
        heads: Heads of the attention.
        dropout: Fraction of the output of attention and feed-forward dropped in training.
    """

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.source_norm = nn.LayerNorm(width)
        self.attention = MultiheadAttention(width, heads=heads, dropout=dropout)
        self.forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, dropout=dropout)

    def forward(self, z: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """Return ``(B, T, D)``, the tokens after the block.

        Args:
            z: ``(B, T, D)``.
            source: ``(B, S, D)``.
            mask: ``(B, S)`` bool, True for the tokens of ``source`` that may be attended to.
        """
        z = z + self.attention(self.norm(z), self.source_norm(source), mask)
        after: Tensor = z + self.feed_forward(self.forward_norm(z))
        return after
