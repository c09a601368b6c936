"""From scratch: nothing is taken from a source. Also the control of every other mode."""

from __future__ import annotations

from torch import nn

from mmx.transfer.base import Source, Start, Transfer, start_fresh


class Scratch(Transfer):
    """Fresh weights, all trained; R(w) is the optimiser's weight decay."""

    needs = "nothing"

    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Leave the model as it was drawn."""
        return start_fresh(model)
