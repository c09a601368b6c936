"""A few learned latents that attend to all tokens of all modalities."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.attention_blocks import CrossBlock, SelfBlock
from mmx.fusion.base import Fusion, Widths
from mmx.fusion.tokens import Projections, read_tokens
from mmx.modalities import Features


class Perceiver(Fusion):
    """Summarises the tokens of all modalities in a fixed number of latents.

        p = [LN_m(W_m x_m) + s for all m]                   (B, Σ_m T_m, D), s: positions
        z ← cross^l(z, p),  z ← self^l(z)                         l = 1..layers
        F = mean of LN(z)                                         (B, D)

    Use it for very long token sequences: the cost grows with N times the number of tokens,
    not with its square.

    The shift of LN_m distinguishes the modalities. The initial latents z ``(N, D)`` are
    learned. An absent modality is masked. A single modality is treated like several.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width of the fused vector, D_out, and the width of tokens and latents.
        latents: N, the number of learned vectors that attend to all tokens.
        layers: How often the latents attend to the tokens, then to each other.
        heads: Heads of every attention; need not divide the width.
        dropout: Fraction of the output of attention and feed-forward dropped in training.

    Reference: Jaegle et al. 2021, arXiv 2103.03206.
    """

    level: ClassVar[Literal["token"]] = "token"
    reads: ClassVar[Literal["tokens"]] = "tokens"

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=2, le=65_536)] = 64,
        latents: Annotated[int, Field(ge=2, le=65_536)] = 16,
        layers: Annotated[int, Field(ge=1, le=1_024)] = 2,
        heads: Annotated[int, Field(ge=1, le=1_024)] = 4,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.projections = Projections(widths, width=width)
        self.latents = nn.Parameter(torch.randn(latents, width) * 0.02)
        self.cross, self.within = (
            nn.ModuleList(block(width, heads=heads, dropout=dropout) for _ in range(layers))
            for block in (CrossBlock, SelfBlock)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        tokens, masks = read_tokens(features, present, self.modalities)
        p = torch.cat(self.projections.with_positions(tokens, masks), dim=1)  # (B, Σ_m T_m, D)
        mask = torch.cat(masks, dim=1)
        z = self.latents.expand(p.shape[0], -1, -1)  # (B, N, D)
        # Latents are never padding: (B, N), all True.
        everything = torch.ones(z.shape[:2], dtype=torch.bool, device=z.device)
        for cross, within in zip(self.cross, self.within, strict=True):
            z = within(cross(z, p, mask), everything)
        latents: Tensor = self.norm(z)
        return latents.mean(1)
