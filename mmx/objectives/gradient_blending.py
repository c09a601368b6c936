"""Gradient blending: each modality's loss weighs what it generalises."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mmx.modalities import Encoded, StepRows
from mmx.objectives.auxiliary_heads import find_labelled_rows, unimodal_heads, unimodal_losses
from mmx.objectives.base import Criterion, ModelOutput, Objective, present_features, raise_precision

LEAST_OVERFITTING = 0.01
"""In nats: a smaller change of the gap is taken for noise."""


class GradientBlending(Objective):
    """One loss for each modality's own head and one for the fused outputs, weighed anew.

        L = Σ_k w_k L_k,  k = 1..M the unimodal heads, k = M + 1 the outputs; K = M + 1

    L_k is the cross-entropy, a mean over the batch's rows that have k, 0 where none has.
    After a super-epoch of ``every`` epochs, from T_k, the mean of L_k over its training
    rows as they were trained on, and V_k, that of the validation rows at its end:

        G_k = V_k(before) - V_k(now)                    generalisation: > 0 is an improvement
        O_k = [V_k - T_k](now) - [V_k - T_k](before)    overfitting: > 0, the gap has widened
        q_k = max(G_k, 0) / max(|O_k|, 0.01)²
        w_k = (1 - ρ) q_k / Σ_j q_j + ρ / K

    A head that got worse on validation has q = 0. The square forgets the sign of O, as in
    the paper, where it stands for a variance; |O| below 0.01 is taken for 0.01. The share
    ρ keeps every head learning, so that it can be seen to recover. The weights sum to 1.
    They start equal, and stay what they are after the first super-epoch, which has none
    before it, and whenever no head improves.

    The paper trains a copy of each head alone to measure G and O; here they are measured in
    the joint training itself, at no cost.

    Args:
        every: Epochs in a super-epoch.
        floor: ρ, the part of the weight that is shared out evenly.

    Reference: Wang et al. 2020, What makes training multi-modal classification networks
    hard?, arXiv 1905.12681.
    """

    kinds = frozenset({"classes"})
    counts_losses = True

    def __init__(
        self,
        *,
        every: Annotated[int, Field(ge=1, le=100_000)] = 1,
        floor: Annotated[float, Field(gt=0, le=1)] = 0.1,
    ) -> None:
        self.every = every
        self.floor = floor

    def bind(self, target: Tensor, outputs: int, widths: dict[str, int]) -> Criterion:
        """Return the loss; see :class:`~mmx.objectives.base.Objective`."""
        return BlendedLoss(widths, outputs, every=self.every, floor=self.floor)


class BlendedLoss(Criterion):
    """The loss of :class:`GradientBlending`.

    Args:
        widths: Modality to D_m.
        outputs: C.
        every: Epochs in a super-epoch.
        floor: ρ.

    Attributes:
        weights: ``(K,)`` w, of the modalities by name and the outputs at last.
        train_sum, train_rows: ``(K,)`` sums of losses and numbers of rows so far in this
            super-epoch.
        val_before, gap_before: ``(K,)`` V and V - T of the super-epoch before; in the first,
            V is minus infinity, on which nothing improves.
        epochs: Epochs so far in this super-epoch.
    """

    observes = True
    weights: Tensor
    train_sum: Tensor
    train_rows: Tensor
    val_before: Tensor
    gap_before: Tensor
    epochs: Tensor

    def __init__(self, widths: dict[str, int], outputs: int, *, every: int, floor: float) -> None:
        super().__init__()
        self.modalities = tuple(sorted(widths))
        self.every = every
        self.floor = floor
        self.heads = unimodal_heads(widths, outputs)
        zeros = torch.zeros(len(widths) + 1, dtype=torch.float64)
        self.register_buffer("weights", torch.full_like(zeros, 1 / len(zeros)))
        self.register_buffer("train_sum", zeros.clone())
        self.register_buffer("train_rows", zeros.clone())
        self.register_buffer("val_before", torch.full_like(zeros, -torch.inf))
        self.register_buffer("gap_before", zeros.clone())
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy of the outputs, not weighted; see Criterion."""
        return F.cross_entropy(raise_precision(outputs), target)

    def forward(self, said: ModelOutput, target: Tensor) -> Tensor:
        """Return the scalar loss; in training, note what each head's was."""
        losses, _ = self._note_losses(said, target)
        return (self.weights.to(losses) * losses).sum()

    def part(self, said: ModelOutput, target: Tensor, step: StepRows) -> Tensor:
        """Return a batch's part, of each head's mean over the step's rows; see Criterion."""
        if not step.present:
            return super().part(said, target, step)
        losses, rows = self._note_losses(said, target)
        everyone = find_labelled_rows(self.modalities, step)
        everyone = torch.cat([everyone, everyone.new_full((1,), len(step))])
        return (self.weights.to(losses) * losses * rows / everyone.clamp(min=1)).sum()

    def _note_losses(self, said: ModelOutput, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(K,)`` losses and numbers of rows; in training, note them."""
        losses, rows = self._losses(said, target)
        if self.training:
            with torch.no_grad():
                self.train_sum += losses * rows
                self.train_rows += rows
        return losses, rows

    def after_epoch(self, val: Encoded, outputs: Tensor) -> None:
        """Weigh the heads anew where a super-epoch has ended; see Criterion."""
        self.epochs += 1
        if int(self.epochs) < self.every:
            return
        device = self.weights.device
        pooled = {name: val.features[name].pooled.to(device) for name in self.modalities}
        present = {name: val.present[name].to(device) for name in self.modalities}
        with torch.no_grad():
            said = ModelOutput(outputs.to(device), pooled, present)
            losses, _ = self._losses(said, val.target.to(device))
        now = losses.double()
        gap = now - self.train_sum / self.train_rows.clamp(min=1)
        self.weights.copy_(
            blend(self.val_before - now, gap - self.gap_before, self.weights, floor=self.floor)
        )
        self.val_before.copy_(now)
        self.gap_before.copy_(gap)
        for counted in (self.train_sum, self.train_rows, self.epochs):
            counted.zero_()

    def _losses(self, said: ModelOutput, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(K,)`` losses and numbers of rows."""
        with torch.autocast(said.outputs.device.type, enabled=False):
            pooled = present_features(said, self.modalities)
            losses, rows = unimodal_losses(self.heads, pooled, said.present, target)
            fused = self.task_loss(said.outputs, target)
        everyone = rows.new_full((1,), len(target))
        return torch.cat([losses, fused[None]]), torch.cat([rows, everyone])


def blend(generalised: Tensor, overfitted: Tensor, before: Tensor, *, floor: float) -> Tensor:
    """Return the weights w ``(K,)``; see :class:`GradientBlending`.

    Args:
        generalised: G, ``(K,)``.
        overfitted: O, ``(K,)``.
        before: The weights so far, kept where nothing has improved.
        floor: ρ.
    """
    worth = generalised / overfitted.abs().clamp(min=LEAST_OVERFITTING).square()
    worth = worth.where(generalised > 0, 0.0)
    if not bool((worth > 0).any()):
        return before
    return (1 - floor) * worth / worth.sum() + floor / len(worth)
