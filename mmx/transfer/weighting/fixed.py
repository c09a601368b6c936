"""Two losses, one weight that is chosen."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.transfer.weighting.base import Weighting


class Fixed(Weighting):
    """Weighs the source's loss by what it is told.

        L = L_t + source_weight · L_s

    Args:
        source_weight: What the source's loss counts beside the target's.
    """

    def __init__(self, *, source_weight: float = 1.0) -> None:
        super().__init__()
        self.chosen: Tensor
        self.register_buffer("chosen", torch.tensor([1.0, source_weight]), persistent=False)

    def weights(self) -> Tensor:
        """Return ``(2,)``: 1 and the source's weight."""
        return self.chosen
