"""Distillation: the source's head says of the new features what it said of its own."""

from __future__ import annotations

from torch import Tensor

from mmx.modalities import Features
from mmx.transfer.regularizers.base import Given, Penalty, Regularizer
from mmx.transfer.regularizers.decisions import SoftPenalty
from mmx.transfer.regularizers.features import Strength, Temperature


class Distill(Regularizer):
    """Holds what the frozen source reads in the features, and leaves free what it does not.

        R = 1/n Σ_i T² KL(softmax(z0_i / T) ‖ softmax(z_i / T))

    z0 = decide(f0) and z = decide(f) go through the same frozen fusion and head of the
    source. A mean over the n rows that have any modality that the source can read; modalities
    of the target that it cannot are absent to it.

    Args:
        strength: λ.
        temperature: T; the higher, the more the unlikely classes count.

    Reference: Hinton et al. 2015, arXiv 1503.02531.
    """

    acts_on = "features"
    reads_source_outputs = True
    needs = frozenset({"model", "classes"})
    zero_at_start = True

    def __init__(self, *, strength: Strength = 1.0, temperature: Temperature = 3.0) -> None:
        self.strength = strength
        self.temperature = temperature

    def bind(self, given: Given) -> Penalty:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Regularizer`.

        Raises:
            TransferError: There is no source, or it shares no modality with the target.
        """
        return DistillPenalty(given, "distill", self.strength, self.temperature)


class DistillPenalty(SoftPenalty):
    """The penalty of :class:`Distill`."""

    def decide(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return z through the frozen source; see DecisionPenalty."""
        return self.reference.decide(features, present)
