"""Gradient blending: losses of the modalities, weighted by how well they generalise."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mmx.modalities import Encoded, StepRows
from mmx.objectives.auxiliary_heads import (
    compute_unimodal_losses,
    count_step_rows,
    make_unimodal_heads,
)
from mmx.objectives.base import (
    Criterion,
    ModelOutput,
    Objective,
    raise_precision,
    zero_absent_features,
)

LEAST_OVERFITTING = 0.01
"""Smallest change of the generalisation gap in nats; smaller ones count as noise."""


class GradientBlending(Objective):
    """A weighted sum of one loss for each unimodal head and one for the fused outputs.

        L = Σ_k w_k L_k,  k = 1..M the unimodal heads, k = M + 1 the outputs; K = M + 1

    Use it if modalities overfit at different rates, so that a multimodal model is no better
    than its best modality.

    L_k is the cross-entropy, a mean over the batch's rows that have k, or 0 without any. The
    weights are updated after each super-epoch of ``every`` epochs. T_k is the mean of L_k over
    the training rows during the super-epoch, and V_k its mean over the validation rows at the
    end:

        G_k = V_k(before) - V_k(now)                    generalisation: > 0 is an improvement
        O_k = [V_k - T_k](now) - [V_k - T_k](before)    overfitting: > 0, the gap has widened
        q_k = max(G_k, 0) / max(|O_k|, 0.01)²
        w_k = (1 - ρ) q_k / Σ_j q_j + ρ / K

    A head that got worse on validation has q = 0. The square ignores the sign of O, as in the
    paper, where it represents a variance; |O| is at least 0.01. The share ρ keeps every head
    training, so that it can recover. The weights sum to 1. They start equal and do not change
    after the first super-epoch, which has no predecessor, or when no head improves.

    The paper trains a copy of each head separately to estimate G and O; here they are measured
    in the training itself, without extra cost.

    Args:
        every: Number of epochs in a super-epoch.
        floor: ρ, the part of the weight that is divided equally.

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
        weights: ``(K,)`` w, of the modalities by name, then of the outputs.
        train_sum, train_rows: ``(K,)`` sums of losses and numbers of rows so far in this
            super-epoch.
        val_before, gap_before: ``(K,)`` V and V - T of the previous super-epoch; in the first,
            V is minus infinity, so nothing improves on it.
        epochs: Number of epochs so far in this super-epoch.
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
        self.heads = make_unimodal_heads(widths, outputs)
        # float64, since sums over many small batches would lose digits in float32. Buffers, so
        # that a resumed run goes on with the same weights.
        zeros = torch.zeros(len(widths) + 1, dtype=torch.float64)
        self.register_buffer("weights", torch.full_like(zeros, 1 / len(zeros)))
        self.register_buffer("train_sum", zeros.clone())
        self.register_buffer("train_rows", zeros.clone())
        self.register_buffer("val_before", torch.full_like(zeros, -torch.inf))
        self.register_buffer("gap_before", zeros.clone())
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the unweighted cross-entropy of the outputs; see Criterion."""
        return F.cross_entropy(raise_precision(outputs), target)

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        """Return the scalar loss; in training, add up the loss of each head."""
        losses, _ = self._note_losses(output, target)
        return (self.weights.to(losses) * losses).sum()

    def part(self, output: ModelOutput, target: Tensor, step: StepRows) -> Tensor:
        """Return a batch's part of each head's mean over the step's rows; see Criterion."""
        # Without the presence of the whole step, rows count equally, whichever modalities
        # they have.
        if not step.present:
            return super().part(output, target, step)
        losses, rows = self._note_losses(output, target)
        everyone = count_step_rows(self.modalities, step)
        everyone = torch.cat([everyone, everyone.new_full((1,), len(step))])
        return (self.weights.to(losses) * losses * rows / everyone.clamp(min=1)).sum()

    def _note_losses(self, output: ModelOutput, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(K,)`` losses and numbers of rows; in training, add them up."""
        losses, rows = self._compute_losses(output, target)
        if self.training:
            # Means times rows: batches of unequal size add up to the mean over the epoch.
            with torch.no_grad():
                self.train_sum += losses * rows
                self.train_rows += rows
        return losses, rows

    def after_epoch(self, val: Encoded, outputs: Tensor) -> None:
        """Update the weights of the heads if a super-epoch has ended; see Criterion."""
        self.epochs += 1
        if int(self.epochs) < self.every:
            return
        device = self.weights.device
        pooled = {name: val.features[name].pooled.to(device) for name in self.modalities}
        present = {name: val.present[name].to(device) for name in self.modalities}
        with torch.no_grad():
            output = ModelOutput(outputs.to(device), pooled, present)
            losses, _ = self._compute_losses(output, val.target.to(device))
        now = losses.double()  # V_k; the outputs' loss is not weighted either
        gap = now - self.train_sum / self.train_rows.clamp(min=1)
        self.weights.copy_(
            blend_weights(
                self.val_before - now, gap - self.gap_before, self.weights, floor=self.floor
            )
        )
        self.val_before.copy_(now)
        self.gap_before.copy_(gap)
        for total in (self.train_sum, self.train_rows, self.epochs):
            total.zero_()

    def _compute_losses(self, output: ModelOutput, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(K,)`` losses and numbers of rows."""
        with torch.autocast(output.outputs.device.type, enabled=False):
            pooled = zero_absent_features(output, self.modalities)
            losses, rows = compute_unimodal_losses(self.heads, pooled, output.present, target)
            fused = self.task_loss(output.outputs, target)
        everyone = rows.new_full((1,), len(target))
        return torch.cat([losses, fused[None]]), torch.cat([rows, everyone])


def blend_weights(
    generalised: Tensor, overfitted: Tensor, before: Tensor, *, floor: float
) -> Tensor:
    """Return the weights w ``(K,)``; see :class:`GradientBlending`.

    Args:
        generalised: G, ``(K,)``.
        overfitted: O, ``(K,)``.
        before: The current weights, kept if no head has improved.
        floor: ρ.
    """
    # q_k; the clamp keeps a head whose gap did not change from taking all the weight.
    worth = generalised / overfitted.abs().clamp(min=LEAST_OVERFITTING).square()
    worth = worth.where(generalised > 0, 0.0)
    if not bool((worth > 0).any()):
        return before
    return (1 - floor) * worth / worth.sum() + floor / len(worth)
