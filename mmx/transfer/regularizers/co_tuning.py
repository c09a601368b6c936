"""Co-tuning: the source's head trains too, on the source classes that resemble the target's."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.errors import TransferError
from mmx.modalities import Batch, Features
from mmx.transfer.regularizers.base import Penalty, Regularizer, RegularizerContext
from mmx.transfer.regularizers.decisions import (
    DecisionPenalty,
    compute_source_outputs,
    find_readable_rows,
)
from mmx.transfer.regularizers.features import (
    SofteningTemperature,
    Strength,
    find_compared_modalities,
)


class CoTuning(Regularizer):
    """Transfers the source's head as well, through learned relations of target and source classes.

        R = 1/n Σ_i CE(p(y_s | y_i), softmax(g(f_i)))
        p(y_s | y_t) = mean over the training rows of class y_t of softmax(z0 / T)

    g starts as the source's fusion and head and trains with the target; it is dropped
    afterwards. z0 are the frozen source's outputs for a row without augmentation, computed once
    before training (the paper's direct approach to the relationship). R is a mean over the n rows
    that have any modality that the source can read, and is never below the entropy of p. Use it
    when the source has many classes, some of which resemble the target's.

    Args:
        strength: λ, the weight of the penalty in the loss.
        temperature: T, for a source with badly calibrated probabilities: above 1 for an
            overconfident source.

    Reference: You et al. 2020, Co-Tuning for transfer learning.
    """

    acts_on = "outputs"
    reads_source_outputs = True
    needs = frozenset({"model", "classes"})

    def __init__(
        self, *, strength: Strength = 2.3, temperature: SofteningTemperature = 1.0
    ) -> None:
        self.strength = strength
        self.temperature = temperature

    def bind(self, context: RegularizerContext) -> Penalty:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Regularizer`.

        Raises:
            TransferError: There is no source, it shares no modality with the target or with
                any of its training rows, or the target has no classes.
        """
        if context.kind != "classes":
            raise TransferError(
                f"regularizer=co_tuning needs classes, and the target is of kind {context.kind}",
                tip="regularizer=rkd",
            )
        return CoTuningPenalty(
            context, self.strength, compute_relationship(context, self.temperature)
        )


class CoTuningPenalty(DecisionPenalty):
    """The penalty of :class:`CoTuning`.

    Args:
        context: See :class:`~mmx.transfer.regularizers.base.RegularizerContext`.
        strength: λ, the weight of the penalty in the loss.
        relation: ``(C_t, C_s)`` p(y_s | y_t). It follows from the data, so no checkpoint holds it.

    Attributes:
        old_head: g.
    """

    relation: Tensor

    def __init__(self, context: RegularizerContext, strength: float, relation: Tensor) -> None:
        super().__init__(context, "co_tuning", strength)
        self.old_head = self.reference.decision()
        self.register_buffer("relation", relation, persistent=False)

    def decide(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return g(f); see DecisionPenalty."""
        outputs: Tensor = self.old_head(features, present)
        return outputs

    def compute_targets(self, batch: Batch, rows: Tensor, present: dict[str, Tensor]) -> Tensor:
        """Return p(y_s | y_i) of the rows' classes; see DecisionPenalty."""
        # (n, C_s): a distribution over source classes for each row's class
        return self.relation[batch.target[rows]]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar; see DecisionPenalty."""
        # A cross-entropy with soft targets: KL up to the targets' entropy, which is constant.
        return -(targets * outputs.log_softmax(1)).sum(1).mean()


def compute_relationship(context: RegularizerContext, temperature: float) -> Tensor:
    """Return p(y_s | y_t), ``(C_t, C_s)``, accumulated in float64.

    A class takes the mean over all rows if the source can read none of its training rows.

    Args:
        context: With a reference; the target has classes.
        temperature: T.

    Raises:
        TransferError: The source can read no training row.
    """
    reference, modalities = find_compared_modalities(context, "co_tuning")
    sums = torch.zeros(context.outputs, reference.outputs_count, dtype=torch.float64)
    counts = torch.zeros(context.outputs, 1, dtype=torch.float64)
    like = torch.zeros(0)  # the last outputs: their type and device are those of the result
    for batch in context.rows():
        rows = find_readable_rows(batch, modalities)
        if len(rows) == 0:
            continue
        present = {name: batch.present[name][rows] for name in modalities}
        like = compute_source_outputs(reference, modalities, batch, rows, present)
        # On the CPU, where index_add_ adds in a fixed order: on CUDA the sums would vary by run.
        found = (like.double() / temperature).softmax(1).cpu()
        target = batch.target[rows].cpu()
        sums.index_add_(0, target, found)
        counts.index_add_(0, target, torch.ones(len(rows), 1, dtype=torch.float64))
    if not bool(counts.any()):
        raise TransferError(
            "regularizer=co_tuning: the source can read no training row of the target",
            tip="regularizer=none",
        )
    # The marginal p(y_s), for target classes without a training row.
    overall = sums.sum(0) / counts.sum()  # (C_s,)
    # clamp only avoids 0 / 0 in rows that torch.where drops
    return torch.where(counts > 0, sums / counts.clamp(min=1), overall).to(like)
