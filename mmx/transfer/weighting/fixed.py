"""Two losses with weights that do not change."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.transfer.weighting.base import Weighting


class Fixed(Weighting):
    """Weighs the source's loss by a constant.

        L = L_t + source_weight · L_s

    The default. Use it when both losses have the same unit, or to try a few weights by hand.

    Args:
        source_weight: Weight of the source's loss; the target's is 1.
    """

    def __init__(self, *, source_weight: float = 1.0) -> None:
        super().__init__()
        self.chosen: Tensor
        # A buffer, to move with the model; not persistent, since the config states it.
        self.register_buffer("chosen", torch.tensor([1.0, source_weight]), persistent=False)

    def weights(self) -> Tensor:
        """Return ``(2,)``: 1 and the source's weight."""
        return self.chosen
