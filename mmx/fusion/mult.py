"""The multimodal transformer, with one cross-modal transformer for each ordered pair."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.attention_blocks import CrossBlock, SelfBlock
from mmx.fusion.base import Fusion, Widths
from mmx.fusion.tokens import keep_last, make_sinusoids, read_tokens
from mmx.modalities import Features
from mmx.modalities.masking import masked_mean


class Mult(Fusion):
    """Cross-modal attention between all pairs of modalities, then self-attention.

        Z_m = LN_m(Conv_m(x_m)) + s                               (B, T_m, D), s: positions
        Z_{β→α} = the cross-modal blocks of the pair: queries from Z_α, keys from Z_β
        Y_α = LN(self-attention blocks over [Z_{β→α} for all β ≠ α])   (B, T_α, (M - 1)·D)
        F = [pool(Y_1); …; pool(Y_M)]                             (B, M·(M - 1)·D)

    Use it for unaligned sequences, such as speech and text, where the interaction of single
    tokens matters; it is the largest method, with M·(M - 1) transformers.

    Each modality keeps its own length T_m; the convolution reads padding as zeros. Attention
    to an absent modality adds zero, and an absent modality's part of F is zero. A single
    modality has no pairs: its self-attention blocks run over Z itself, D_out = D.

    From the paper are the convolution to a common width, the positions, the pre-norm
    cross-modal blocks, in which the residual is normalised as well, and the last token as
    one way to pool. Different from the paper: LN_m brings the encoders' scales to the scale of
    the positions; the mean over the valid tokens is the default; each LayerNorm has its own
    scale and shift; positions count from 0; convolution and attention have no biases; the
    feed-forward has 2·D units and GELU; the model's linear head follows F directly.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: D, of each cross-modal transformer.
        layers: Blocks of each cross-modal transformer.
        memory_layers: Self-attention blocks of each modality after them.
        heads: Heads of every attention; need not divide the width.
        kernel: Size of the convolution's kernel in tokens, odd.
        pool: ``mean`` over the valid tokens, or the ``last`` of them.
        dropout: Fraction of the output of attention and feed-forward dropped in training.

    Raises:
        ValueError: ``kernel`` is even.

    Reference: Tsai et al. 2019, arXiv 1906.00295.
    """

    level: ClassVar[Literal["token"]] = "token"
    reads: ClassVar[Literal["tokens"]] = "tokens"

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=2, le=65_536)] = 32,
        layers: Annotated[int, Field(ge=1, le=1_024)] = 1,
        memory_layers: Annotated[int, Field(ge=1, le=1_024)] = 1,
        heads: Annotated[int, Field(ge=1, le=1_024)] = 4,
        kernel: Annotated[int, Field(ge=1, le=1_024)] = 3,
        pool: Literal["mean", "last"] = "mean",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        if kernel % 2 == 0:
            raise ValueError(f"`kernel` (={kernel}) must be odd, so that it is centred on a token")
        # M (M - 1) D: each modality has M - 1 pairs of width D; with one modality, D.
        self.width = len(widths) * max(len(widths) - 1, 1) * width
        self.pool = pool
        self.convolutions, self.norms = nn.ModuleDict(), nn.ModuleDict()
        self.targets = nn.ModuleDict()
        for target in self.modalities:
            self.convolutions[target] = nn.Conv1d(
                widths[target].pooled, width, kernel, padding=kernel // 2, bias=False
            )
            self.norms[target] = nn.LayerNorm(width)
            self.targets[target] = CrossModalTarget(
                [source for source in self.modalities if source != target],
                width=width,
                layers=layers,
                memory_layers=memory_layers,
                heads=heads,
                dropout=dropout,
            )

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        tokens, masks = read_tokens(features, present, self.modalities)
        z = {}
        for name, x, mask in zip(self.modalities, tokens, masks, strict=True):
            # Conv1d wants channels first: (B, T_m, D_m) → (B, D_m, T_m) and back.
            common = self.norms[name](self.convolutions[name](x.transpose(1, 2)).transpose(1, 2))
            z[name] = common + make_sinusoids(mask, common.shape[2], common.dtype)  # (B, T_m, D)
        mask_of = dict(zip(self.modalities, masks, strict=True))
        parts = []
        for name, target in self.targets.items():
            mask = mask_of[name]
            y = target(z[name], mask, z, mask_of)
            # A mask of the last token alone makes the mean that token.
            parts.append(masked_mean(y, mask if self.pool == "mean" else keep_last(mask)))
        return torch.cat(parts, dim=1)


class CrossModalTarget(nn.Module):
    """The blocks of one modality: cross-attention to each other one, then self-attention.

    Args:
        sources: The other modalities, sorted.
        width: D.
        layers: Cross-modal blocks for each source.
        memory_layers: Self-attention blocks after them.
        heads: Heads of every attention.
        dropout: Fraction of the output of attention and feed-forward dropped in training.
    """

    def __init__(
        self,
        sources: list[str],
        *,
        width: int,
        layers: int,
        memory_layers: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        wide = width * max(len(sources), 1)
        self.cross = nn.ModuleDict()
        for source in sources:
            blocks = (CrossModalBlock(width, heads=heads, dropout=dropout) for _ in range(layers))
            self.cross[source] = nn.ModuleList(blocks)
        self.memory = nn.ModuleList(
            SelfBlock(wide, heads=heads, dropout=dropout) for _ in range(memory_layers)
        )
        self.norm = nn.LayerNorm(wide)

    def forward(
        self, z: Tensor, mask: Tensor, sources: dict[str, Tensor], masks: dict[str, Tensor]
    ) -> Tensor:
        """Return ``(B, T, W)``; W is D times the number of sources, or D without any.

        Args:
            z: ``(B, T, D)``, the target's tokens.
            mask: ``(B, T)`` bool, True for the valid tokens.
            sources: Modality to ``(B, T_m, D)`` tokens.
            masks: Modality to ``(B, T_m)`` bool.
        """
        pairs = []
        for source, blocks in self.cross.items():
            crossed = z
            for block in blocks.children():
                # The source's tokens are those before any block, in every layer.
                crossed = block(crossed, sources[source], masks[source])
            pairs.append(crossed)
        y = torch.cat(pairs, dim=2) if pairs else z  # (B, T, (M - 1) · D)
        for block in self.memory:
            y = block(y, mask)
        normed: Tensor = self.norm(y)
        return normed


class CrossModalBlock(CrossBlock):
    """One layer of a cross-modal transformer.

        Ẑ = MHA(LN(Z), LN'(Z_source)) + LN(Z),  Z' = FF(LN(Ẑ)) + LN(Ẑ)

    Every layer takes the same Z_source, the source's tokens before any block.
    """

    def forward(self, z: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """Return ``(B, T, D)``; see :class:`~mmx.fusion.attention_blocks.CrossBlock`."""
        # The normalised Z is the residual as well, unlike in other pre-norm blocks.
        z = self.norm(z)
        z = self.forward_norm(z + self.attention(z, self.source_norm(source), mask))
        after: Tensor = z + self.feed_forward(z)
        return after
