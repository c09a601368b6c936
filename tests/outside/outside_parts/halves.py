"""Nothing from a source, and smaller weights to start from."""

from __future__ import annotations

import torch
from torch import nn

from mmx.transfer import Source, Start, Transfer
from mmx.transfer.base import start_fresh


class Halves(Transfer):
    """Halves every weight that was drawn."""

    needs = "nothing"

    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Halve the weights."""
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(0.5)
        return start_fresh(model)
