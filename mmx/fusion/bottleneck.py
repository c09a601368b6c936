"""Modalities that exchange information only through a few shared tokens."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.attention_blocks import SelfBlock
from mmx.fusion.base import Fusion, Widths
from mmx.fusion.tokens import Projections, read_tokens
from mmx.modalities import Features
from mmx.modalities.masking import masked_mean


class Bottleneck(Fusion):
    """Runs one transformer for each modality; they share only the bottleneck tokens f.

        z_m = [cls_m; LN_m(W_m x_m) + s]                    (B, 1 + T_m, D), s: positions
        z_m ← block_m^l(z_m)                                      layers l < fusion_layer
        [z_m; f_m] ← block_m^l([z_m; f]),  f ← mean of f_m        layers l ≥ fusion_layer
        F = mean of LN(cls_m)                                     (B, D)

    Use it for long token sequences, where attention over all pairs of tokens costs too much.

    Layers count from 0; the encoders' own layers come before them. Each modality keeps its
    own length T_m. An absent modality is left out of all means. The last layer does not
    update f, since nothing reads it afterwards; so the modalities exchange information only
    if at least one more layer follows ``fusion_layer``. A single modality uses f alone.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width of the fused vector, D_out, and the width of all tokens.
        layers: Blocks of each modality.
        heads: Heads of every attention; need not divide the width.
        bottlenecks: Number of the tokens f.
        fusion_layer: The first layer that sees them.
        dropout: Fraction of the output of attention and feed-forward dropped in training.

    Raises:
        ValueError: ``fusion_layer`` is so late that nothing would be exchanged.

    Reference: Nagrani et al. 2021, arXiv 2107.00135.
    """

    level: ClassVar[Literal["token"]] = "token"
    reads: ClassVar[Literal["tokens"]] = "tokens"

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=2, le=65_536)] = 64,
        layers: Annotated[int, Field(ge=2, le=1_024)] = 2,
        heads: Annotated[int, Field(ge=1, le=1_024)] = 4,
        bottlenecks: Annotated[int, Field(ge=1, le=65_536)] = 4,
        fusion_layer: Annotated[int, Field(ge=0, le=1_024)] = 0,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        if fusion_layer > layers - 2:
            raise ValueError(
                f"`fusion_layer` (={fusion_layer}) must be at most `layers` - 2 (={layers - 2}): "
                "one layer writes to the bottleneck tokens, a later one reads"
            )
        self.width = width
        self.fusion_layer = fusion_layer
        self.projections = Projections(widths, width=width)
        # Drawn before the blocks: another order would change the weights that a seed gives.
        # Small, as in ViT and BERT: large CLS tokens would outweigh normalised ones at the start.
        self.cls = nn.Parameter(torch.randn(len(widths), width) * 0.02)
        self.bottlenecks = nn.Parameter(torch.randn(bottlenecks, width) * 0.02)

        def block() -> SelfBlock:
            return SelfBlock(width, heads=heads, dropout=dropout)

        self.layers = nn.ModuleList(
            nn.ModuleDict({name: block() for name in self.modalities}) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        tokens, masks = read_tokens(features, present, self.modalities)
        # a modality without a valid token counts as absent
        here = torch.stack([mask.any(1) for mask in masks], dim=1)  # (B, M)
        z, seen = [], []
        for m, x in enumerate(self.projections.with_positions(tokens, masks)):
            z.append(
                torch.cat([self.cls[m].expand(x.shape[0], 1, -1), x], dim=1)
            )  # (B, 1 + T_m, D)
            seen.append(torch.cat([here[:, m, None], masks[m]], dim=1))  # CLS is as present as m
        # A view for all rows (no copy); the blocks return new tensors, so nothing writes into it.
        f = self.bottlenecks.expand(here.shape[0], -1, -1)  # (B, N, D)
        for depth, layer in enumerate(self.layers):
            blocks = list(layer.children())
            if depth < self.fusion_layer:
                z = [block(*each) for block, *each in zip(blocks, z, seen, strict=True)]
            else:
                z, f = self._exchange(blocks, z, seen, f, last=depth == len(self.layers) - 1)
        # In the last layer each z is its CLS token alone, (B, 1, D): together (B, M, D).
        return masked_mean(self.norm(torch.cat(z, dim=1)), here)

    def _exchange(
        self, blocks: list[nn.Module], z: list[Tensor], seen: list[Tensor], f: Tensor, *, last: bool
    ) -> tuple[list[Tensor], Tensor]:
        """Return the tokens and f after a layer; the ``last`` layer returns only the CLS tokens."""
        count = f.shape[1]  # N, of bottleneck tokens at the end of each sequence
        z = [
            block(
                torch.cat([each, f], dim=1),
                # The bottleneck tokens are valid in every row, so no row is without a key.
                F.pad(mask, (0, count), value=True),
                first=1 if last else None,
            )
            for block, each, mask in zip(blocks, z, seen, strict=True)
        ]
        if last:
            return z, f
        # Each modality has updated its own copy of f; the layer's f is their mean.
        written = torch.stack([each[:, -count:] for each in z], dim=1)  # (B, M, N, D)
        # Column 0 of each mask is that of the CLS token: whether the modality is there.
        here = torch.stack([mask[:, 0] for mask in seen], dim=1)
        return [each[:, :-count] for each in z], mean_present(written, here)


def mean_present(x: Tensor, here: Tensor) -> Tensor:
    """Return the ``(B, N, D)`` mean of ``x`` ``(B, M, N, D)`` over the modalities ``here``."""
    return masked_mean(x.flatten(2), here).view_as(x[:, 0])  # (B, M, N·D) → (B, N, D)
