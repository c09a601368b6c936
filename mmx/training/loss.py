"""From rows to a loss: the forward pass of one batch in training.

Shape legend: ``B`` batch, ``C`` outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from mmx.balance import Balance, MixedInputs
from mmx.modalities import Batch, Features, StepRows, Stored
from mmx.model import MultimodalModel
from mmx.objectives import Criterion, ModelOutput
from mmx.processes import current_group
from mmx.training.data import Data, Rows, make_batches, split_rows
from mmx.training.precision import Precision
from mmx.training.randomness import make_generator, permute
from mmx.transfer.regularizers import Penalty, Step
from mmx.transfer.weighting import Weighting


@dataclass(frozen=True)
class BatchLoss:
    """The loss of a batch of one task, with augmentation, modality dropout, balance and penalty.

    Attributes:
        model, data, criterion: Of the task.
        precision: Number format of the forward pass.
        balance: The treatment of class imbalance, or None.
        modality_dropout: Chance that a row loses a modality it has.
        augment: Whether inputs are augmented.
        penalty: The regulariser that keeps the model close to its source, or None.
        penalties: Its value for each batch since the last :meth:`take_penalty`, on the device.
    """

    model: MultimodalModel
    data: Data
    criterion: Criterion
    precision: Precision
    balance: Balance | None = None
    modality_dropout: float = 0.0
    augment: bool = True
    penalty: Penalty | None = None
    penalties: list[Tensor] = field(default_factory=list, init=False)

    def order_rows(self, rows: Rows, seed: int, draws: str, epoch: int) -> Rows:
        """Return an epoch's rows in the order in which they are trained on."""
        if self.balance is not None:
            labels = self.data.target.cpu().numpy()[rows]
            # A stream of its own: drawing rows changes no number of the order below.
            rows = self.balance.draw(rows, labels, make_generator(seed, draws, "draw", epoch))
        return permute(rows, seed, draws, "order", epoch)

    def share_norms(self, *, over_processes: bool) -> AbstractContextManager[None]:
        """Return the block of all steps, in which batch norms see all rows of a batch if asked."""
        group = current_group()
        if not over_processes:
            return group.count_norm_rows(self.model)
        return group.synchronise(self.model, self.data.find_kind)

    def find_step_rows(self, batches: Sequence[Rows]) -> StepRows | None:
        """Return the rows of a step; None if it is one batch, which needs no other rows."""
        if len(batches) == 1 and current_group().size == 1:
            return None
        rows, device = np.concatenate(batches), self.data.device
        # With modality dropout, presence is drawn batch by batch and not known for the step.
        here = {} if self.modality_dropout else self.data.views
        return StepRows(
            self.data.target[torch.from_numpy(rows).to(device)],
            {name: torch.from_numpy(self.data.present(name, rows)).to(device) for name in here},
        )

    def __call__(
        self, rows: Rows, stored: Mapping[str, Stored], step: StepRows | None = None
    ) -> tuple[Tensor, Batch]:
        """Return the loss and the batch; draws from torch's global RNG.

        Args:
            rows: The rows of the batch.
            stored: Their values.
            step: All rows of the step, if the loss is to be this batch's part of the step's loss;
                None for the batch's own loss.
        """
        batch, cut = self._mix_inputs(self.data.assemble(rows, stored, augment=self.augment))
        with self.precision.autocast():
            features, present = self.model.encode(batch), batch.present
            # After the encoders, so that their batch norms see every row that has the modality.
            if self.modality_dropout:
                present = drop_modalities(present, self.modality_dropout)
            if self.balance is None:
                output = self.model.output(features, present)
                loss = self._compute_loss(output, batch.target, step)
                return self._penalise_batch(loss, batch, features, output, step), batch
            mixed = self.balance.mix(features, present, batch.target, self.counts)
            if cut is not None:
                # The inputs were mixed before the encoders: partners and share hold for targets.
                mixed = replace(mixed, other=cut.other, share=cut.share)
            output = self.model.output(mixed.features, present)
            loss = self._compute_loss(output, mixed.target, step)
            if mixed.other is not None:  # mixup: λ L(ŷ, y_i) + (1 - λ) L(ŷ, y_j)
                other = self._compute_loss(output, mixed.other, step)
                # The loss is mixed, not the target: any criterion takes it.
                loss = mixed.share * loss + (1 - mixed.share) * other
            loss = self._penalise_batch(loss, batch, features, output, step)
        return loss, batch

    def _mix_inputs(self, batch: Batch) -> tuple[Batch, MixedInputs | None]:
        """Return a batch as the balance gives it to the encoders, and what was mixed."""
        mixed = None
        if self.balance is not None:
            mixed = self.balance.mix_inputs(batch.inputs, batch.target)
        return (batch if mixed is None else replace(batch, inputs=mixed.inputs)), mixed

    def _compute_loss(self, output: ModelOutput, target: Tensor, step: StepRows | None) -> Tensor:
        loss: Tensor = (
            self.criterion(output, target)
            if step is None
            else self.criterion.part(output, target, step)
        )
        return loss

    def _penalise_batch(
        self,
        loss: Tensor,
        batch: Batch,
        features: dict[str, Features],
        output: ModelOutput,
        whole: StepRows | None,
    ) -> Tensor:
        """Return the loss and the penalty of a batch, if there is one that depends on batches."""
        if self.penalty is None or self.penalty.of_weights:
            return loss
        step = Step(self.model, batch, features, output.outputs, output.fused)
        value: Tensor = self.penalty(step) if whole is None else self.penalty.part(step, whole)
        self.penalties.append(value.detach())
        return loss + value

    def penalise_weights(self) -> Tensor | None:
        """Return a penalty that depends only on weights; None if it depends on batches."""
        if self.penalty is None or not self.penalty.of_weights:
            return None
        nothing = torch.zeros(0, device=self.data.device)
        value: Tensor = self.penalty(Step(self.model, Batch({}, {}, {}, nothing), {}, nothing))
        self.penalties.append(value.detach())
        return value

    def take_penalty(self) -> Tensor | None:
        """Return what the penalty added to the loss of a step; None if there is no penalty.

        It is a scalar on the device, so that nothing waits for it.
        """
        if self.penalty is None:
            return None
        total = torch.zeros((), device=self.data.device)
        for value in self.penalties:
            total += value
        self.penalties.clear()
        return total

    @cached_property
    def counts(self) -> Tensor:
        """``(C,)`` training rows of each class."""
        return torch.bincount(self.data.target[torch.from_numpy(self.data.rows("train"))])


@dataclass(frozen=True)
class JointLoss:
    """The loss of the source in joint training: its batches join every step of the target.

    Attributes:
        loss: The loss of the source's batches.
        weighting: How the losses of target and source are weighed.
        seed: The run's seed.
        batch_size: Rows in a batch.
        last: Parameters of the last layers that both tasks share.
        accumulate: Batches in a step.
    """

    loss: BatchLoss
    weighting: Weighting
    seed: int
    batch_size: int
    last: tuple[nn.Parameter, ...] = ()
    accumulate: int = 1

    def losses(self, first: int, steps: int) -> Iterator[Iterator[tuple[Tensor, Batch]]]:
        """Yield, for each of ``steps`` steps from ``first`` on, its batches and their losses.

        The caller must take all losses of a step before it asks for the next step, because all
        steps read from one iterator over the data.
        """
        groups = [
            make_batches(rows, self.batch_size, self.accumulate) for rows in self.rows(first, steps)
        ]
        stored = self.loss.data.batches([rows for group in groups for rows in group])
        for group in groups:
            yield self._take_losses(group, stored)

    def _take_losses(
        self, group: Sequence[Rows], stored: Iterator[tuple[Rows, dict[str, Stored]]]
    ) -> Iterator[tuple[Tensor, Batch]]:
        whole = self.loss.find_step_rows(group)
        for rows in group:
            yield self.loss(rows, next(stored)[1], whole)

    def rows(self, first: int, steps: int) -> list[Rows]:
        """Return the rows of each of ``steps`` steps from ``first`` on.

        They come in a new order in each pass over the rows; passes follow each other, whatever
        the epochs of the target.
        """
        rows, size = self.loss.data.rows("train"), self.batch_size * self.accumulate
        # Whole steps alone: the rows that are left over have their turn in another pass.
        # Floor, but at least one: with fewer rows than a step, each pass is one short step.
        batches = max(1, len(rows) // size)
        # Steps are numbered through all passes: those from `first` on may begin within a pass.
        passes = range(first // batches, (first + steps - 1) // batches + 1)
        found: list[Rows] = []
        for number in passes:
            # "companion" is what joint training was called: the word is part of the seed.
            order = self.loss.order_rows(rows, self.seed, "companion", number)
            found.extend(split_rows(order, size)[:batches])
        # The steps of the first pass that lie before `first` are left out.
        start = first - passes.start * batches
        return found[start : start + steps]


def drop_modalities(present: dict[str, Tensor], chance: float) -> dict[str, Tensor]:
    """Return presence with modalities dropped at random; every row keeps at least one.

    Each modality that a row has is dropped with the given chance, independently. A row that
    would lose all of them keeps one of those it had, chosen at random.

    Args:
        present: Modality to ``(B,)`` bool.
        chance: In [0, 1).
    """
    names = sorted(present)
    here = torch.stack([present[name] for name in names], dim=1)  # (B, M)
    # `>=`: with a chance of 0, rand() in [0, 1) never drops.
    kept = here & (torch.rand(here.shape, device=here.device) >= chance)
    # The largest of independent uniform numbers is a uniform choice among the row's modalities.
    # Absent modalities get -1, below every number drawn.
    lottery = torch.rand(here.shape, device=here.device).masked_fill(~here, -1.0)
    chosen = torch.nn.functional.one_hot(lottery.argmax(1), len(names)).bool()
    # & here: argmax is 0 in a row without any modality, which must stay without.
    kept = torch.where(kept.any(1, keepdim=True), kept, chosen & here)
    return {name: kept[:, m] for m, name in enumerate(names)}
