"""RMSprop."""

from __future__ import annotations

from typing import Any

import torch

from mmx.training.optimizer import Optimizer


class RmsProp(Optimizer):
    """torch's RMSprop."""

    elementwise = True
    is_adaptive = True

    def __init__(self, *, lr: float = 1e-3, weight_decay: float = 0.0) -> None:
        self.lr = lr
        self.weight_decay = weight_decay

    def make(self, groups: list[dict[str, Any]], device: torch.device) -> torch.optim.Optimizer:
        """Return the optimiser."""
        return torch.optim.RMSprop(groups, lr=self.lr)
