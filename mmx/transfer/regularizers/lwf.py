"""Learning without forgetting: distillation through a copy of the source's head that trains."""

from __future__ import annotations

from torch import Tensor

from mmx.modalities import Features
from mmx.transfer.regularizers.base import Penalty, Regularizer, RegularizerContext
from mmx.transfer.regularizers.decisions import SoftPenalty
from mmx.transfer.regularizers.features import SofteningTemperature, Strength


class Lwf(Regularizer):
    """Keeps the features useful for the source's task, through a head that may move with them.

        R = 1/n Σ_i T² KL(softmax(z0_i / T) ‖ softmax(z_i / T)),  z = g(f)

    g starts as the source's fusion and head and trains with the target; it is dropped
    afterwards. z0 are the frozen source's outputs for the same batch, augmentation included,
    where the paper records them once. R is a mean over the n rows that have any modality that the
    source can read. Use it when the features should still serve the source's task, but may turn to
    other axes; ``distill`` is the stricter form, with g frozen.

    Args:
        strength: λ, the weight of the penalty in the loss.
        temperature: T, which softens the distributions that are compared.

    Reference: Li and Hoiem 2016, arXiv 1606.09282.
    """

    acts_on = "outputs"
    reads_source_outputs = True
    needs = frozenset({"model", "classes"})
    zero_at_start = True

    def __init__(
        self, *, strength: Strength = 1.0, temperature: SofteningTemperature = 2.0
    ) -> None:
        self.strength = strength
        self.temperature = temperature

    def bind(self, context: RegularizerContext) -> Penalty:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Regularizer`.

        Raises:
            TransferError: There is no source, or it shares no modality with the target.
        """
        return LwfPenalty(context, self.strength, self.temperature)


class LwfPenalty(SoftPenalty):
    """The penalty of :class:`Lwf`.

    Args:
        context: See :class:`~mmx.transfer.regularizers.base.RegularizerContext`.
        strength: λ, the weight of the penalty in the loss.
        temperature: T.

    Attributes:
        old_head: g.
    """

    def __init__(self, context: RegularizerContext, strength: float, temperature: float) -> None:
        super().__init__(context, "lwf", strength, temperature)
        self.old_head = self.reference.decision()

    def decide(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return z through the old head; see DecisionPenalty."""
        outputs: Tensor = self.old_head(features, present)
        return outputs
