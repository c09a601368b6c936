"""From rows to a loss: one batch's way through the model in training.

Shape legend: ``B`` batch, ``C`` outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from mmx.balance import Balance
from mmx.modalities import Batch, Features, StepRows, Stored
from mmx.model import MultimodalModel
from mmx.objectives import Criterion, ModelOutput
from mmx.training.data import Data, Rows, make_batches, split_rows
from mmx.training.precision import Precision
from mmx.training.randomness import make_generator, permute
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
        penalties: Its part of each batch since :meth:`take_penalty`, on the device.
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
            rows = self.balance.draw(rows, labels, make_generator(seed, draws, "draw", epoch))
        return permute(rows, seed, draws, "order", epoch)

    def whole(self, batches: Sequence[Rows]) -> StepRows | None:
        """Return the rows of a step; None where it is one batch, whose mean is the step's."""
        if len(batches) == 1:
            return None
        rows, device = np.concatenate(batches), self.data.device
        here = {} if self.modality_dropout else self.data.views  # else they are drawn
        return StepRows(
            self.data.target[torch.from_numpy(rows).to(device)],
            {name: torch.from_numpy(self.data.present(name, rows)).to(device) for name in here},
        )

    def __call__(
        self, rows: Rows, stored: Mapping[str, Stored], step: StepRows | None = None
    ) -> tuple[Tensor, Batch]:
        """Return the loss, and the batch; draws from torch's global RNG.

        Args:
            rows: Of the batch.
            stored: Their values.
            step: The rows of its step, of whose loss it is then a part; None for the batch's
                own loss.
        """
        batch = self.data.assemble(rows, stored, augment=self.augment)
        with self.precision.autocast():
            features, present = self.model.encode(batch), batch.present
            if self.modality_dropout:
                present = drop_modalities(present, self.modality_dropout)
            if self.balance is None:
                output = self.model.output(features, present)
                loss = self._loss(output, batch.target, step)
                return loss + self._held(batch, features, output, step), batch
            mixed = self.balance.mix(features, present, batch.target, self.counts)
            said = self.model.output(mixed.features, present)
            loss = self._loss(said, mixed.target, step)
            if mixed.other is not None:
                other = self._loss(said, mixed.other, step)
                loss = mixed.share * loss + (1 - mixed.share) * other
            loss = loss + self._held(batch, features, said, step)
        return loss, batch

    def _loss(self, said: ModelOutput, target: Tensor, step: StepRows | None) -> Tensor:
        loss: Tensor = (
            self.criterion(said, target)
            if step is None
            else self.criterion.part(said, target, step)
        )
        return loss

    def _held(
        self,
        batch: Batch,
        features: dict[str, Features],
        output: ModelOutput,
        whole: StepRows | None,
    ) -> Tensor | float:
        """Return what the penalty says of a batch."""
        if self.penalty is None or self.penalty.of_weights:
            return 0.0
        step = Step(self.model, batch, features, output.outputs, output.fused)
        said: Tensor = self.penalty(step) if whole is None else self.penalty.part(step, whole)
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

    def take_penalty(self) -> Tensor | None:
        """Return what the penalty added to the loss of a step; None where there is none.

        A scalar on the device, that nobody waits for.
        """
        if self.penalty is None:
            return None
        found = torch.zeros((), device=self.data.device)
        for said in self.penalties:
            found += said
        self.penalties.clear()
        return found

    @cached_property
    def counts(self) -> Tensor:
        """``(C,)`` training rows of each class."""
        return torch.bincount(self.data.target[torch.from_numpy(self.data.rows("train"))])


@dataclass(frozen=True)
class JointLoss:
    """The loss of the source in joint training: its batches join every step of the target.

    Attributes:
        loss: Of its batches.
        weighting: Of the losses of target and source.
        seed: The run's seed.
        batch_size: Rows of each of its batches.
        last: Parameters of the last layers that both tasks share.
        accumulate: Its batches in a step.
    """

    loss: BatchLoss
    weighting: Weighting
    seed: int
    batch_size: int
    last: tuple[nn.Parameter, ...] = ()
    accumulate: int = 1

    def losses(self, first: int, steps: int) -> Iterator[Iterator[tuple[Tensor, Batch]]]:
        """Yield, for each of ``steps`` steps from ``first`` on, its batches and their losses.

        Each step's are to be taken before the next step is asked for.
        """
        groups = [
            make_batches(rows, self.batch_size, self.accumulate) for rows in self.rows(first, steps)
        ]
        stored = self.loss.data.batches([rows for group in groups for rows in group])
        for group in groups:
            yield self._of_step(group, stored)

    def _of_step(
        self, group: Sequence[Rows], stored: Iterator[tuple[Rows, dict[str, Stored]]]
    ) -> Iterator[tuple[Tensor, Batch]]:
        whole = self.loss.whole(group)
        for rows in group:
            yield self.loss(rows, next(stored)[1], whole)

    def rows(self, first: int, steps: int) -> list[Rows]:
        """Return the rows of each of ``steps`` steps from ``first`` on.

        They come in a new order in each pass; where a pass ends, the next begins.
        """
        rows, size = self.loss.data.rows("train"), self.batch_size * self.accumulate
        batches = max(1, len(rows) // size)
        passes = range(first // batches, (first + steps - 1) // batches + 1)
        found: list[Rows] = []
        for number in passes:
            order = self.loss.order(rows, self.seed, "companion", number)  # seeds the draws
            found.extend(split_rows(order, size)[:batches])
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
