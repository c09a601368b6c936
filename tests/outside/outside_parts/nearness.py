"""Features near the source's, row by row."""

from __future__ import annotations

from torch import Tensor

from mmx.transfer.regularizers import Penalty, Regularizer, RegularizerContext
from mmx.transfer.regularizers.features import ComparedPenalty


class Nearness(Regularizer):
    """R = mean_i ‖f_i − f0_i‖², in the source's own axes."""

    acts_on = "features"
    needs = frozenset({"model"})
    zero_at_start = True

    def __init__(self, *, strength: float = 1.0) -> None:
        self.strength = strength

    def bind(self, context: RegularizerContext) -> Penalty:
        """Return the penalty."""
        return NearnessPenalty(context, "nearness", self.strength)


class NearnessPenalty(ComparedPenalty):
    """The penalty of :class:`Nearness`."""

    def term(self, x: Tensor, x0: Tensor) -> Tensor:
        """Return the mean squared distance of ``(n, D)`` and ``(n, D)``."""
        return (x - x0).square().sum(1).mean()
