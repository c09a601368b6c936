"""Tokens of all modalities, projected to one width; each modality keeps its own length."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmx.fusion.base import Widths
from mmx.modalities import Features
from mmx.modalities.masking import is_known_full


def read_tokens(
    features: dict[str, Features], present: dict[str, Tensor], modalities: tuple[str, ...]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return each modality's tokens and the masks of the valid ones.

    A token is valid if the encoder marks it as valid and the row has the modality. All others
    are replaced by zeros, since they may be NaN.

    Args:
        features: Modality to features.
        present: Modality to ``(B,)`` bool.
        modalities: Names, sorted.

    Returns:
        For each modality ``(B, T_m, D_m)`` tokens, and ``(B, T_m)`` bool.
    """
    # (B, T_m) & (B, 1)
    masks = [features[name].mask & present[name][:, None] for name in modalities]
    tokens = [
        features[name].tokens
        if is_known_full(mask)
        else features[name].tokens.masked_fill(~mask[:, :, None], 0.0)
        for name, mask in zip(modalities, masks, strict=True)
    ]
    return tokens, masks


def keep_last(mask: Tensor) -> Tensor:
    """Return ``(B, T)`` bool, True only at the last valid token of each row."""
    return mask & (mask.cumsum(1) == mask.sum(1, keepdim=True))


def make_sinusoids(mask: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Return the sinusoidal positions of the tokens.

        s_i[2j] = sin(i / 10000^(2j / D)),  s_i[2j + 1] = cos(i / 10000^(2j / D))

    i is the number of valid tokens of the row before this one. So it depends on the mask
    only, and padding between tokens does not shift the positions.

    Args:
        mask: ``(B, T)`` bool.
        width: D, even or odd.
        dtype: Dtype of the tokens; positions have at least the precision of float32.

    Returns:
        ``(B, T, D)``.

    Reference: Vaswani et al. 2017, arXiv 1706.03762.
    """
    dtype = torch.promote_types(dtype, torch.float32)
    steps = torch.arange(mask.shape[1], device=mask.device, dtype=dtype)
    units = torch.arange(width, device=mask.device)
    # Units 2j and 2j + 1 share a rate: units - units % 2 is 2j for both.
    rates = 10000.0 ** (-(units - units % 2).to(dtype) / width)
    angles = steps[:, None] * rates  # (T, D)
    table = torch.where(units % 2 == 0, angles.sin(), angles.cos())
    if is_known_full(mask):
        return table.expand(len(mask), -1, -1)
    # Padding before the first valid token has count 0, hence the clamp; its positions are masked.
    return table[(mask.cumsum(1) - 1).clamp(min=0)]


class Projections(nn.Module):
    """Projects every modality to one width and one scale.

        p_m(x) = LN_m(W_m x)

    The features of encoders differ in scale. After the normalisation no modality dominates
    another, and the positions do not dominate the tokens. W has no bias, which could dominate
    small tokens as well. The shift of LN_m is added to all tokens of a modality: it is the
    learned modality embedding.

    Args:
        widths: Modality to widths.
        width: D, the common width.
    """

    def __init__(self, widths: dict[str, Widths], *, width: int) -> None:
        super().__init__()
        self.linear = nn.ModuleDict(
            {name: nn.Linear(widths[name].pooled, width, bias=False) for name in sorted(widths)}
        )
        self.norm = nn.ModuleDict({name: nn.LayerNorm(width) for name in sorted(widths)})

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        """Return ``(..., D)`` for each modality's ``(..., D_m)``, by name."""
        return [
            self.norm[name](self.linear[name](each))
            for name, each in zip(self.linear, x, strict=True)
        ]

    def with_positions(self, x: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
        """Return ``(B, T_m, D)`` p_m(x_i) + s_i of each modality's ``(B, T_m, D_m)``, by name."""
        return [
            each + make_sinusoids(mask, each.shape[-1], each.dtype)
            for each, mask in zip(self(x), masks, strict=True)
        ]
