"""From rows to a loss: one batch's way through the model in training.

Shape legend: ``B`` batch, ``C`` outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from mmx.balance import Balance
from mmx.modalities import Batch, Features, Stored
from mmx.model import MultimodalModel
from mmx.objectives import Criterion, ModelOutput
from mmx.training.data import Data, Rows, chunks
from mmx.training.precision import Precision
from mmx.training.randomness import generator, permutation
from mmx.transfer.regularizers import Penalty, Step
from mmx.transfer.weighting import Weighting


@dataclass(frozen=True)
class BatchLoss:
    """The loss of a batch of one task, with everything that training does to it.

    Attributes:
        model, data, criterion: Of the task.
        precision: Of the forward pass.
        balance: What is done about rare classes; None for nothing.
        modality_dropout: Chance that a sample loses a modality it has.
        augment: Whether inputs are augmented.
        penalty: What holds the model near its source; None for nothing.
        penalties: What it said since :meth:`take_penalty`, batch by batch, on the device.
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

    def order(self, rows: Rows, seed: int, draws: str, epoch: int) -> Rows:
        """Return an epoch's rows in the order they are trained on."""
        if self.balance is not None:
            labels = self.data.target.cpu().numpy()[rows]
            rows = self.balance.draw(rows, labels, generator(seed, draws, "draw", epoch))
        return permutation(rows, seed, draws, "order", epoch)

    def __call__(self, rows: Rows, stored: Mapping[str, Stored]) -> tuple[Tensor, Batch]:
        """Return the mean loss over the rows, and the batch; draws from torch's global RNG."""
        batch = self.data.assemble(rows, stored, augment=self.augment)
        with self.precision.autocast():
            features, present = self.model.encode(batch), batch.present
            if self.modality_dropout:
                present = drop_modalities(present, self.modality_dropout)
            if self.balance is None:
                output = self.model.output(features, present)
                loss: Tensor = self.criterion(output, batch.target)
                return loss + self._held(batch, features, output), batch
            mixed = self.balance.mix(features, present, batch.target, self.counts)
            said = self.model.output(mixed.features, present)
            loss = self.criterion(said, mixed.target)
            if mixed.other is not None:
                other = self.criterion(said, mixed.other)
                loss = mixed.share * loss + (1 - mixed.share) * other
            loss = loss + self._held(batch, features, said)
        return loss, batch

    def _held(
        self, batch: Batch, features: dict[str, Features], output: ModelOutput
    ) -> Tensor | float:
        """Return what the penalty says of a batch."""
        if self.penalty is None or self.penalty.of_weights:
            return 0.0
        step = Step(self.model, batch, features, output.outputs, output.fused)
        said: Tensor = self.penalty(step)
        self.penalties.append(said.detach())
        return said

    def held_weights(self) -> Tensor | None:
        """Return what the penalty says of the weights alone; None where it looks at batches."""
        if self.penalty is None or not self.penalty.of_weights:
            return None
        nothing = torch.zeros(0, device=self.data.device)
        said: Tensor = self.penalty(Step(self.model, Batch({}, {}, {}, nothing), {}, nothing))
        self.penalties.append(said.detach())
        return said

    def take_penalty(self, shares: Sequence[float]) -> Tensor | None:
        """Return what the penalty added to the loss of a step; None where there is none.

        A scalar on the device, that nobody waits for.

        Args:
            shares: What each batch of the step counts; a penalty of weights counts once.
        """
        if self.penalty is None:
            return None
        weights = (1.0,) if self.penalty.of_weights else shares
        found = torch.zeros((), device=self.data.device)
        for weight, said in zip(weights, self.penalties, strict=True):
            found += weight * said
        self.penalties.clear()
        return found

    @cached_property
    def counts(self) -> Tensor:
        """``(C,)`` training rows of each class."""
        return torch.bincount(self.data.target[torch.from_numpy(self.data.rows("train"))])


@dataclass(frozen=True)
class Companion:
    """Another task that trains along: one of its batches in every step.

    Attributes:
        loss: Of its batches.
        weighting: What its loss counts beside the main one.
        seed: The run's seed.
        batch_size: Rows of each of its batches.
        last: Parameters of the last layers that both tasks share.
    """

    loss: BatchLoss
    weighting: Weighting
    seed: int
    batch_size: int
    last: tuple[nn.Parameter, ...] = ()

    def losses(self, first: int, steps: int) -> Iterator[tuple[Tensor, Batch]]:
        """Yield the loss and the batch of each of ``steps`` steps from ``first`` on."""
        for rows, stored in self.loss.data.batches(self.rows(first, steps)):
            yield self.loss(rows, stored)

    def rows(self, first: int, steps: int) -> list[Rows]:
        """Return the rows of each of ``steps`` steps from ``first`` on.

        They come in a new order in each pass; where a pass ends, the next begins.
        """
        rows = self.loss.data.rows("train")
        batches = max(1, len(rows) // self.batch_size)
        passes = range(first // batches, (first + steps - 1) // batches + 1)
        found: list[Rows] = []
        for number in passes:
            order = self.loss.order(rows, self.seed, "companion", number)
            found.extend(chunks(order, self.batch_size)[:batches])
        start = first - passes.start * batches
        return found[start : start + steps]


def drop_modalities(present: dict[str, Tensor], chance: float) -> dict[str, Tensor]:
    """Return presence with modalities hidden sample by sample; each keeps at least one.

    Every modality that a sample has is dropped with the given chance, independently; a
    sample that would lose them all keeps one of those it had, chosen at random.

    Args:
        present: Modality to ``(B,)`` bool.
        chance: In [0, 1).
    """
    names = sorted(present)
    here = torch.stack([present[name] for name in names], dim=1)  # (B, M)
    kept = here & (torch.rand(here.shape, device=here.device) >= chance)
    lottery = torch.rand(here.shape, device=here.device).masked_fill(~here, -1.0)
    chosen = torch.nn.functional.one_hot(lottery.argmax(1), len(names)).bool()
    kept = torch.where(kept.any(1, keepdim=True), kept, chosen & here)
    return {name: kept[:, m] for m, name in enumerate(names)}
