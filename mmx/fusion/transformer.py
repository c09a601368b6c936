"""A small transformer encoder over one token for each modality."""

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


class Transformer(Fusion):
    """Lets a CLS token attend to one token of each modality.

        t_m = LN_m(W_m mean_t x_m)                          (B, D)
        z = [cls; t_1; …; t_M],  z ← block^l(z)  l = 1..layers
        F = LN(z_cls)                                             (B, D)

    Use it with several modalities of which each is well described by one vector; ``mult`` and
    ``perceiver`` attend to single tokens.

    The mean is over the valid tokens, and the shift of LN_m distinguishes the modalities. The
    token of an absent modality is masked. With a single modality, CLS attends to its token.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width of the fused vector, D_out, and the width of the tokens.
        layers: Number of blocks.
        heads: Heads of every attention; need not divide the width.
        dropout: Fraction of the output of attention and feed-forward dropped in training.

    Reference: Vaswani et al. 2017, arXiv 1706.03762; CLS: Devlin et al. 2018, arXiv 1810.04805.
    """

    level: ClassVar[Literal["token"]] = "token"
    reads: ClassVar[Literal["tokens"]] = "tokens"

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=2, le=65_536)] = 64,
        layers: Annotated[int, Field(ge=1, le=1_024)] = 2,
        heads: Annotated[int, Field(ge=1, le=1_024)] = 4,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.projections = Projections(widths, width=width)
        self.cls = nn.Parameter(torch.randn(width) * 0.02)
        self.layers = nn.ModuleList(
            SelfBlock(width, heads=heads, dropout=dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        tokens, masks = read_tokens(features, present, self.modalities)
        means = [masked_mean(x, mask) for x, mask in zip(tokens, masks, strict=True)]
        # (D,) → (B, D), a view: one CLS for all rows.
        cls = self.cls.expand(means[0].shape[0], -1)
        z = torch.stack([cls, *self.projections(means)], dim=1)  # (B, 1 + M, D)
        here = torch.stack([mask.any(1) for mask in masks], dim=1)
        seen = F.pad(here, (1, 0), value=True)  # (B, 1 + M), CLS is always there
        for depth, block in enumerate(self.layers):
            last = depth == len(self.layers) - 1
            z = block(z, seen, first=1 if last else None)  # F reads only CLS
        fused: Tensor = self.norm(z[:, 0])
        return fused
