"""Sinusoidal positions of steps, which need no longest sequence."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def make_positions(steps: int, width: int, device: torch.device) -> Tensor:
    """Return ``(T, D)``: sines of the position in the first half, cosines in the second.

    Wave ``k`` has the length 2π · 10000^(2k / D) in steps; D is even.

    Reference: Vaswani et al. 2017, arXiv 1706.03762.
    """
    # 10000^(-2j / D) as an exponential; halves side by side, not alternating as in the paper.
    waves = torch.arange(width // 2, device=device) * (-2 * math.log(10000.0) / width)
    angles = torch.arange(steps, device=device)[:, None] * waves.exp()
    return torch.cat([angles.sin(), angles.cos()], dim=1)
