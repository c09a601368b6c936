"""Training from scratch: nothing comes from a source. Also the control of every other mode."""

from __future__ import annotations

from torch import nn

from mmx.transfer.base import Source, Start, Transfer, start_fresh


class Scratch(Transfer):
    """Trains all weights from a random start; R(w) is the optimiser's weight decay.

    Use it for a baseline without a source, or with enough rows that a source has little to add.
    """

    needs = "nothing"

    @property
    def is_scratch(self) -> bool:
        """It does."""
        return True

    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Leave the model's random initial weights as they are."""
        return start_fresh(model)
