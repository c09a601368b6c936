"""Distillation: the source's head gives the new features the same outputs as its own."""

from __future__ import annotations

from torch import Tensor

from mmx.modalities import Features
from mmx.transfer.regularizers.base import Penalty, Regularizer, RegularizerContext
from mmx.transfer.regularizers.decisions import SoftPenalty
from mmx.transfer.regularizers.features import SofteningTemperature, Strength


class Distill(Regularizer):
    """Keeps what the source's frozen head reads in the features; the rest of them may change.

        R = 1/n Σ_i T² KL(softmax(z0_i / T) ‖ softmax(z_i / T))

    z0 = decide(f0) and z = decide(f) use the same frozen fusion and head of the source. R is a
    mean over the n rows that have any modality that the source can read; it treats the target's
    other modalities as missing. Use it when the source's classes are informative about the
    target's, and the encoders should stay compatible with the source's head.

    Args:
        strength: λ, the weight of the penalty in the loss.
        temperature: T; the higher it is, the more unlikely classes count.

    Reference: Hinton et al. 2015, arXiv 1503.02531.
    """

    acts_on = "features"
    reads_source_outputs = True
    needs = frozenset({"model", "classes"})
    zero_at_start = True

    def __init__(
        self, *, strength: Strength = 1.0, temperature: SofteningTemperature = 3.0
    ) -> None:
        self.strength = strength
        self.temperature = temperature

    def bind(self, context: RegularizerContext) -> Penalty:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Regularizer`.

        Raises:
            TransferError: There is no source, or it shares no modality with the target.
        """
        return DistillPenalty(context, "distill", self.strength, self.temperature)


class DistillPenalty(SoftPenalty):
    """The penalty of :class:`Distill`."""

    def decide(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return z through the frozen source; see DecisionPenalty."""
        return self.reference.decide(features, present)
