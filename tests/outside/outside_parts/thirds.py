"""The target's loss counts twice the source's."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.transfer.weighting import Weighting


class Thirds(Weighting):
    """L = 2/3 L_t + 1/3 L_s."""

    def weights(self) -> Tensor:
        """Return ``(2,)``."""
        return torch.tensor([2 / 3, 1 / 3])
