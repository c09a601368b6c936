"""From rows to a loss: one batch's way through the model in training.

Shape legend: ``B`` batch, ``C`` outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from mmx.balance import Balance
from mmx.modalities import Batch, Stored
from mmx.model import MultimodalModel
from mmx.objectives import Criterion
from mmx.training.data import Data, Rows, chunks
from mmx.training.precision import Precision
from mmx.training.randomness import generator, permutation


@dataclass(frozen=True)
class BatchLoss:
    """The loss of a batch of one task, with everything that training does to it.

    Attributes:
        model, data, criterion: Of the task.
        precision: Of the forward pass.
        balance: What is done about rare classes; None for nothing.
        modality_dropout: Chance that a sample loses a modality it has.
        augment: Whether inputs are augmented.
    """

    model: MultimodalModel
    data: Data
    criterion: Criterion
    precision: Precision
    balance: Balance | None = None
    modality_dropout: float = 0.0
    augment: bool = True

    def order(self, rows: Rows, seed: int, draws: str, epoch: int) -> Rows:
        """Return an epoch's rows in the order they are trained on."""
        if self.balance is not None:
            labels = self.data.target.cpu().numpy()[rows]
            rows = self.balance.draw(rows, labels, generator(seed, draws, "draw", epoch))
        return permutation(rows, seed, draws, "order", epoch)

    def __call__(self, rows: Rows, stored: Mapping[str, Stored]) -> tuple[Tensor, Batch]:
        """Return the mean loss over the rows, and the batch; draws from torch's global RNG."""
        batch = self.data.assemble(rows, stored, augment=self.augment)
        if self.modality_dropout:
            batch = drop_modalities(batch, self.modality_dropout)
        with self.precision.autocast():
            features = self.model.encode(batch)
            if self.balance is None:
                said = self.model.output(features, batch.present)
                return self.criterion(said, batch.target), batch
            mixed = self.balance.mix(features, batch.present, batch.target, self.counts)
            said = self.model.output(mixed.features, batch.present)
            loss: Tensor = self.criterion(said, mixed.target)
            if mixed.other is not None:
                other = self.criterion(said, mixed.other)
                loss = mixed.share * loss + (1 - mixed.share) * other
        return loss, batch

    @cached_property
    def counts(self) -> Tensor:
        """``(C,)`` training rows of each class."""
        return torch.bincount(self.data.target[torch.from_numpy(self.data.rows("train"))])


@dataclass(frozen=True)
class Companion:
    """Another task that trains along: one of its batches in every step.

    Attributes:
        loss: Of its batches.
        weight: What its loss counts beside the main one.
        seed: The run's seed.
        batch_size: Rows of each of its batches.
    """

    loss: BatchLoss
    weight: float
    seed: int
    batch_size: int

    def losses(self, first: int, steps: int) -> Iterator[Tensor]:
        """Yield the weighted loss of each of ``steps`` steps, the first of that number.

        Its rows come in a new order in each pass; where the pass ends, the next begins.
        """
        plan = [self.rows(step) for step in range(first, first + steps)]
        for rows, stored in self.loss.data.batches(plan):
            yield self.weight * self.loss(rows, stored)[0]

    def rows(self, step: int) -> Rows:
        """Return the rows of a step."""
        rows = self.loss.data.rows("train")
        batches = max(1, len(rows) // self.batch_size)
        order = self.loss.order(rows, self.seed, "companion", step // batches)
        return chunks(order, self.batch_size)[step % batches]


def drop_modalities(batch: Batch, chance: float) -> Batch:
    """Return the batch with modalities hidden sample by sample; each keeps at least one.

    Every modality that a sample has is dropped with the given chance, independently; a
    sample that would lose them all keeps one of those it had, chosen at random.
    """
    names = sorted(batch.present)
    here = torch.stack([batch.present[name] for name in names], dim=1)  # (B, M)
    kept = here & (torch.rand(here.shape, device=here.device) >= chance)
    lottery = torch.rand(here.shape, device=here.device).masked_fill(~here, -1.0)
    chosen = torch.nn.functional.one_hot(lottery.argmax(1), len(names)).bool()
    kept = torch.where(kept.any(1, keepdim=True), kept, chosen & here)
    return replace(batch, present={name: kept[:, m] for m, name in enumerate(names)})
