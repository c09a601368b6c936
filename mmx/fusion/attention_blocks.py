"""Masked attention and the transformer blocks made of it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN = 2  # times the width: the layer inside a feed-forward


class MultiheadAttention(nn.Module):
    """Multi-head attention in which a query that sees no key gets exactly zeros.

        MHA(x, y) = O [h_1; …; h_H],  h_k = softmax((Q_k x)(K_k y)ᵀ / √d) V_k y

    d = ⌈D / H⌉, so any width goes with any number of heads. There are no biases: the one of
    the keys would cancel in the softmax, and those of the values and of O would speak where
    nothing is seen.

    Args:
        width: D, of queries, keys and output.
        heads: H.
        dropout: Part of the output dropped in training.
    """

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * -(-width // heads)
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.output = nn.Linear(inner, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """Return ``(B, T, D)``.

        Args:
            x: ``(B, T, D)``, where the queries come from.
            y: ``(B, S, D)``, where keys and values come from; finite where masked, too.
            mask: ``(B, S)`` bool, which of ``y`` may be seen.
        """
        query, key, value = (
            linear(z).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, H, T or S, d)
            for linear, z in ((self.query, x), (self.key, y), (self.value, y))
        )
        blind = ~mask.any(1)
        seen = mask | blind[:, None]  # a softmax over nothing would be NaN
        # The mask is the same for all heads and queries.
        seen = seen[:, None, None, :].expand(-1, -1, x.shape[1], -1)
        heads = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        heads = heads.masked_fill(blind[:, None, None, None], 0.0)
        attended: Tensor = self.dropout(self.output(heads.transpose(1, 2).flatten(2)))
        return attended


class FeedForward(nn.Sequential):
    """Two layers for each token: FF(x) = W₂ gelu(W₁ x + b₁) + b₂, ``(..., D)`` to ``(..., D)``.

    Args:
        width: D; the layer in between has twice as many units.
        dropout: Part of the output dropped in training.
    """

    def __init__(self, width: int, *, dropout: float) -> None:
        super().__init__(
            nn.Linear(width, HIDDEN * width),
            nn.GELU(),
            nn.Linear(HIDDEN * width, width),
            nn.Dropout(dropout),
        )


class SelfBlock(nn.Module):
    """Tokens look at each other.

        y = z + MHA(LN(z), LN(z)),  z' = y + FF(LN(y))

    Args:
        width: D.
        heads: Heads of the attention.
        dropout: Part of what either step adds, dropped in training.
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
            mask: ``(B, T)`` bool, which of them may be seen.
            first: How many of the tokens are wanted, from the first; None: all T.

        Returns:
            ``(B, first, D)``.
        """
        normed = self.norm(z)
        z = z[:, :first] + self.attention(normed[:, :first], normed, mask)
        after: Tensor = z + self.feed_forward(self.forward_norm(z))
        return after


class CrossBlock(nn.Module):
    """Tokens look at others.

        y = z + MHA(LN(z), LN'(s)),  z' = y + FF(LN(y))

    Args:
        width: D.
        heads: Heads of the attention.
        dropout: Part of what either step adds, dropped in training.
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
            mask: ``(B, S)`` bool, which of ``source`` may be seen.
        """
        z = z + self.attention(self.norm(z), self.source_norm(source), mask)
        after: Tensor = z + self.feed_forward(self.forward_norm(z))
        return after
