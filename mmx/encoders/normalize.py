"""Images centred and scaled as published weights expect it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Centres and scales images, whether weights are loaded or drawn fresh.

    Args:
        mean: Of each channel, of values in [0, 1].
        std: Of each channel.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # Constants of the architecture, so they stay out of checkpoints and transfer reports.
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(B, 3, H, W)``, normalised."""
        return (x - self.get_buffer("mean")) / self.get_buffer("std")
