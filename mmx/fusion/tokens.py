"""The modalities' tokens on their way to one width; each modality keeps its own length."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmx.fusion.base import Widths
from mmx.modalities import Features


def read_tokens(
    features: dict[str, Features], present: dict[str, Tensor], modalities: tuple[str, ...]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return each modality's tokens and which of them are valid, by name.

    A token is valid where the encoder says so and the row has the modality; all others are
    replaced by zeros, whatever they held.

    Args:
        features: Modality to features.
        present: Modality to ``(B,)`` bool.
        modalities: Names, sorted.

    Returns:
        For each modality ``(B, T_m, D_m)`` tokens, and ``(B, T_m)`` bool.
    """
    masks = [features[name].mask & present[name][:, None] for name in modalities]
    tokens = [
        features[name].tokens.masked_fill(~mask[:, :, None], 0.0)
        for name, mask in zip(modalities, masks, strict=True)
    ]
    return tokens, masks


def keep_last(mask: Tensor) -> Tensor:
    """Return ``(B, T)`` bool, True at each row's last valid token alone."""
    return mask & (mask.cumsum(1) == mask.sum(1, keepdim=True))


def make_sinusoids(mask: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Return the sinusoidal positions of the tokens.

        s_i[2j] = sin(i / 10000^(2j / D)),  s_i[2j + 1] = cos(i / 10000^(2j / D))

    i counts the valid tokens of the row before this one, so it depends on the mask alone,
    neither on what the tokens hold nor on the padding.

    Args:
        mask: ``(B, T)`` bool.
        width: D, even or odd.
        dtype: Of the tokens; positions are never coarser than float32.

    Returns:
        ``(B, T, D)``.

    Reference: Vaswani et al. 2017, arXiv 1706.03762.
    """
    dtype = torch.promote_types(dtype, torch.float32)
    steps = torch.arange(mask.shape[1], device=mask.device, dtype=dtype)
    units = torch.arange(width, device=mask.device)
    rates = 10000.0 ** (-(units - units % 2).to(dtype) / width)
    angles = steps[:, None] * rates  # (T, D)
    table = torch.where(units % 2 == 0, angles.sin(), angles.cos())
    return table[(mask.cumsum(1) - 1).clamp(min=0)]


class Projections(nn.Module):
    """Brings every modality to one width and one scale.

        p_m(x) = LN_m(W_m x)

    Encoders differ in the scale of what they give; normalised, no modality drowns another,
    nor do positions drown the tokens (so W has no bias, which would drown them as well). The
    shift of LN_m is what all tokens of a modality share: the modality's learned embedding.

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
