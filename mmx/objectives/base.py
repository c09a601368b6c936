"""The contract of every objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmx.modalities import Encoded, StepRows
from mmx.variants import variant


@dataclass(frozen=True)
class ModelOutput:
    """What a model says of a batch, as far as an objective may ask.

    Attributes:
        outputs: ``(B, C)``; of no columns where the objective is label-free.
        pooled: Modality to the ``(B, D_m)`` pooled features; rows where it is absent may
            hold anything.
        present: Modality to ``(B,)`` bool.
        fused: ``(B, D)`` what the head read; None where nobody asked for it.
    """

    outputs: Tensor
    pooled: dict[str, Tensor]
    present: dict[str, Tensor]
    fused: Tensor | None = None


class Criterion(nn.Module, ABC):
    """An objective bound to a task; a module, since it may have parameters of its own.

    Its parameters (projections, unimodal heads, a temperature) train with the model's.

    Attributes:
        observes: Whether :meth:`after_epoch` wants to be called.
        aligns: Whether :meth:`embed` is there.
    """

    observes: bool = False
    aligns: bool = False

    @abstractmethod
    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of the outputs alone, a mean over the rows, in float32.

        This is the ``loss`` among the metrics: of a sum of terms, those that read nothing
        but outputs and targets.

        Args:
            outputs: ``(N, C)``.
            target: ``(N,)`` or ``(N, C)``.

        Raises:
            NotImplementedError: The objective reads no outputs.
        """

    def forward(self, said: ModelOutput, target: Tensor) -> Tensor:
        """Return the scalar loss to descend, a mean over the batch, in float32."""
        return self.task_loss(said.outputs, target)

    def share(self, target: Tensor, step: Tensor) -> Tensor | float:
        """Return what a batch counts in the mean over a step: its part of the rows.

        Args:
            target: Of the batch's rows.
            step: Of all rows of the step.
        """
        return len(target) / len(step)

    def task_part(self, outputs: Tensor, target: Tensor, step: Tensor) -> Tensor:
        """Return a batch's part of the task loss of a step; see :meth:`part`."""
        return _scale(self.task_loss(outputs, target), self.share(target, step))

    def part(self, said: ModelOutput, target: Tensor, step: StepRows) -> Tensor:
        """Return a batch's part of the loss of a step that is accumulated over several.

        The parts of a step sum to the loss of all its rows as one batch, as far as the loss
        is a mean over rows. One that compares rows sees those of a batch alone.

        Args:
            said: Of the batch.
            target: Of the batch.
            step: All rows of the step.
        """
        return _scale(self(said, target), self.share(target, step.target))

    def after_epoch(self, val: Encoded, outputs: Tensor) -> None:
        """Look at the validation rows after an epoch, only where :attr:`observes`.

        What is learned here is kept in buffers, so that a resumed run has it.

        Args:
            val: Features of the validation rows, without gradient.
            outputs: ``(N, C)`` of the same rows.
        """

    def embed(self, pooled: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return each modality's ``(B, E)`` embedding in the common space.

        Args:
            pooled: Modality to ``(B, D_m)``; where it is absent, so is its embedding: what
                stands in that row means nothing.

        Raises:
            NotImplementedError: The objective aligns no modalities.
        """
        raise NotImplementedError(f"{type(self).__name__} aligns no modalities")


_WeightedLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class OutputLoss(Criterion):
    """A criterion of outputs and targets alone.

    Args:
        loss: (outputs, target, class weights or None) -> scalar.
        weight: ``(C,)`` class weights; they are the data's, so no checkpoint holds them.
        by_class: Whether the mean is over rows weighted by their class: then the weights of
            its rows, not their number, is what a batch counts.
    """

    def __init__(
        self, loss: _WeightedLoss, weight: Tensor | None = None, *, by_class: bool = False
    ) -> None:
        super().__init__()
        self._loss = loss
        self.by_class = by_class
        self.weight: Tensor | None
        self.register_buffer("weight", weight, persistent=False)

    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss; see :class:`Criterion`."""
        outputs = raise_precision(outputs)
        weight = None if self.weight is None else self.weight.to(outputs)
        return self._loss(outputs, target, weight)

    def share(self, target: Tensor, step: Tensor) -> Tensor | float:
        """Return what a batch counts in the mean over a step; see :class:`Criterion`."""
        if self.weight is None or not self.by_class:
            return super().share(target, step)
        return self.weight[target].sum() / self.weight[step].sum()


class FeatureLoss(Criterion):
    """A criterion of the modalities' pooled features, which reads no outputs.

    Args:
        widths: Modality to D_m.

    Attributes:
        modalities: The modalities, sorted by name.
    """

    def __init__(self, widths: dict[str, int]) -> None:
        super().__init__()
        self.modalities = tuple(sorted(widths))

    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Raise NotImplementedError: there is no loss of the outputs alone."""
        raise NotImplementedError(f"{type(self).__name__} reads no outputs")

    def forward(self, said: ModelOutput, target: Tensor) -> Tensor:
        """Return the scalar loss, in float32 whatever the model runs in."""
        with torch.autocast(said.outputs.device.type, enabled=False):
            return self.loss(present_features(said, self.modalities), said.present, target)

    @abstractmethod
    def loss(self, pooled: dict[str, Tensor], present: dict[str, Tensor], target: Tensor) -> Tensor:
        """Return the scalar loss.

        Args:
            pooled: Modality, by name, to ``(B, D_m)``, zeros where it is absent.
            present: Modality to ``(B,)`` bool.
            target: ``(B,)`` or ``(B, C)``.
        """


class Objective(ABC):
    """Base of all objectives; keyword-only, plain, annotated constructor arguments.

    Attributes:
        kinds: The kinds of target it serves: classes, multilabel, regression.
        label_free: True where neither targets nor outputs are read and nothing else has to
            be: alone it trains the encoders, and neither fusion nor head.
        reads_outputs: False where the loss is of the modalities' features: alone, it would
            leave the head as it is, so it is a term of ``combined``.
        cross_modal: True where :meth:`bind` needs two modalities or more.
        compares_rows: True where the loss holds the rows of a batch against each other, so that
            the steps of several small batches are not those of one large batch.
        may_be_negative: True where the loss has values below zero.
        weighs_classes: True where :meth:`with_class_weights` returns another objective.
        counts_losses: True where it sums up what rows lose while they train, each by its one
            label: rows mixed of two classes cannot be counted so.
    """

    kinds: frozenset[str]
    label_free: bool = False
    reads_outputs: bool = True
    cross_modal: bool = False
    compares_rows: bool = False
    may_be_negative: bool = False
    weighs_classes: bool = False
    counts_losses: bool = False

    @property
    def name(self) -> str:
        """The name that a config chooses it by."""
        return variant(type(self))

    @abstractmethod
    def bind(self, target: Tensor, outputs: int, widths: dict[str, int]) -> Criterion:
        """Return the loss of a task.

        Args:
            target: The training targets, ``(N,)`` or ``(N, C)``.
            outputs: C.
            widths: Modality to D_m, the width of its pooled features.

        Raises:
            ValueError: The options do not fit the task.
        """

    def with_class_weights(self) -> Objective:
        """Return the same objective with class weights ``balanced``.

        Raises:
            ValueError: It has no class weights, or they are given already.
        """
        raise ValueError(
            f"{self.name} has no class weights; cross_entropy and focal have, and combined "
            "where one of these is among its terms"
        )

    def _check_modalities(self, widths: dict[str, int]) -> None:
        if self.cross_modal and len(widths) < 2:
            raise ValueError(
                f"{self.name} compares modalities, so it needs two or more; "
                f"the task has only {', '.join(widths)}"
            )


def raise_precision(x: Tensor) -> Tensor:
    """Return ``x`` in float32, or in float64 where it is that already."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _scale(loss: Tensor, share: Tensor | float) -> Tensor:
    """Return the share of a loss, in its own dtype."""
    return loss * (share.to(loss) if isinstance(share, Tensor) else share)


def present_features(said: ModelOutput, modalities: tuple[str, ...]) -> dict[str, Tensor]:
    """Return each modality's ``(B, D_m)`` pooled features in float32, zeros where absent.

    The rows are replaced, not multiplied by zero, which would keep NaN and infinity.
    """
    return {
        name: raise_precision(said.pooled[name]).masked_fill(~said.present[name][:, None], 0.0)
        for name in modalities
    }
