"""Tokens of each modality attend once to those of all others."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.attention_blocks import MultiheadAttention
from mmx.fusion.base import Fusion, Widths
from mmx.fusion.tokens import Projections, read_tokens
from mmx.modalities import Features
from mmx.modalities.masking import masked_mean


class CrossAttention(Fusion):
    """Lets each token attend to the tokens of all other modalities.

        p_m = LN_m(W_m x_m) + s                             (B, T_m, D), s: positions
        h_m = LN'_m(p_m + MHA_m(p_m, [p_j for all j ≠ m]))
        F = [mean_t h_1; …; mean_t h_M]                           (B, M·D)

    Use it when parts of one modality refer to parts of another, such as words and regions of
    an image, and one layer of attention is enough; ``mult`` stacks several.

    Each modality keeps its own length T_m; means are over the valid tokens. An absent
    modality is masked and its part of F is zero; where all others are absent, the attention
    adds zero. With a single modality h = LN'(p), without attention.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: D, the common width; D_out is M·D.
        heads: Heads of the attention; need not divide the width.
        dropout: Fraction of the attention's output dropped in training.
    """

    level: ClassVar[Literal["token"]] = "token"
    reads: ClassVar[Literal["tokens"]] = "tokens"

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=2, le=65_536)] = 64,
        heads: Annotated[int, Field(ge=1, le=1_024)] = 4,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width * len(widths)
        self.projections = Projections(widths, width=width)
        attending = self.modalities if len(widths) > 1 else ()
        self.attention = nn.ModuleDict(
            {name: MultiheadAttention(width, heads=heads, dropout=dropout) for name in attending}
        )
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in self.modalities})

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        tokens, masks = read_tokens(features, present, self.modalities)
        projected = self.projections.with_positions(tokens, masks)  # M of (B, T_m, D)
        parts = []
        for m, name in enumerate(self.modalities):
            h = projected[m]
            if self.attention:
                # Attention has no order of its own, so the others can be joined along the tokens.
                others = torch.cat(projected[:m] + projected[m + 1 :], dim=1)  # (B, Σ_j≠m T_j, D)
                seen = torch.cat(masks[:m] + masks[m + 1 :], dim=1)
                h = h + self.attention[name](h, others, seen)
            # Mean over the valid tokens; zero for an absent modality, whose mask is empty.
            parts.append(masked_mean(self.norms[name](h), masks[m]))
        return torch.cat(parts, dim=1)
