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
    """The parts of a model's output for a batch that an objective may read.

    Attributes:
        outputs: ``(B, C)``; ``(B, 0)`` where the objective is label-free.
        pooled: Modality to the ``(B, D_m)`` pooled features; rows that lack the modality may
            hold any values.
        present: Modality to ``(B,)`` bool.
        fused: ``(B, D)``, the input of the head; None where it was not requested.
    """

    outputs: Tensor
    pooled: dict[str, Tensor]
    present: dict[str, Tensor]
    fused: Tensor | None = None


class Criterion(nn.Module, ABC):
    """An objective bound to a task. It is a module, since it may have parameters.

    Its parameters (projections, unimodal heads, a temperature) train with those of the model.

    Attributes:
        observes: Whether :meth:`after_epoch` has to be called.
        aligns: Whether :meth:`embed` is implemented.
    """

    observes: bool = False
    aligns: bool = False

    @abstractmethod
    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of the outputs, a mean over the rows, in float32.

        This is the metric ``loss``. Of a sum of terms it is the part that reads only outputs
        and targets.

        Args:
            outputs: ``(N, C)``.
            target: ``(N,)`` or ``(N, C)``.

        Raises:
            NotImplementedError: The objective does not read outputs.
        """

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        """Return the scalar loss to minimise, a mean over the batch, in float32."""
        return self.task_loss(output.outputs, target)

    def share(self, target: Tensor, step: Tensor) -> Tensor | float:
        """Return the weight of a batch in the mean over a step: its share of the rows.

        Args:
            target: Targets of the batch.
            step: Targets of all rows of the step.
        """
        return len(target) / len(step)

    def task_part(self, outputs: Tensor, target: Tensor, step: Tensor) -> Tensor:
        """Return a batch's part of the task loss of a step; see :meth:`part`."""
        return _scale(self.task_loss(outputs, target), self.share(target, step))

    def part(self, output: ModelOutput, target: Tensor, step: StepRows) -> Tensor:
        """Return a batch's part of the loss of a step that consists of several batches.

        If the loss is a mean over rows, the parts sum to the loss of all rows of the step as one
        batch. A loss that compares rows only compares those of one batch.

        Args:
            output: Output of the model for the batch.
            target: Targets of the batch.
            step: All rows of the step.
        """
        return _scale(self(output, target), self.share(target, step.target))

    def after_epoch(self, val: Encoded, outputs: Tensor) -> None:
        """Read the validation rows after an epoch; called only where :attr:`observes`.

        What is learned here belongs in buffers, so that a resumed run has it.

        Args:
            val: Features of the validation rows, without gradients.
            outputs: ``(N, C)`` outputs for the same rows.
        """

    def embed(self, pooled: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return each modality's ``(B, E)`` embedding in the common space.

        Args:
            pooled: Modality to ``(B, D_m)``; the embedding of a row without the modality is
                meaningless.

        Raises:
            NotImplementedError: The objective does not align modalities.
        """
        raise NotImplementedError(f"{type(self).__name__} does not align modalities")


_WeightedLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class OutputLoss(Criterion):
    """A criterion that reads only outputs and targets.

    Args:
        loss: (outputs, target, class weights or None) -> scalar.
        weight: ``(C,)`` class weights; they follow from the data, so checkpoints leave them
            out.
        by_class: Whether the loss is a mean weighted by the classes of the rows; then a batch
            counts by the sum of the weights of its rows, not by their number.
    """

    def __init__(
        self, loss: _WeightedLoss, weight: Tensor | None = None, *, by_class: bool = False
    ) -> None:
        super().__init__()
        self._loss = loss
        self.by_class = by_class
        self.weight: Tensor | None
        # A buffer, so that it moves to the device with the module.
        self.register_buffer("weight", weight, persistent=False)

    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss; see :class:`Criterion`."""
        outputs = raise_precision(outputs)
        weight = None if self.weight is None else self.weight.to(outputs)
        return self._loss(outputs, target, weight)

    def share(self, target: Tensor, step: Tensor) -> Tensor | float:
        """Return the weight of a batch in the mean over a step; see :class:`Criterion`."""
        if self.weight is None or not self.by_class:
            return super().share(target, step)
        # The denominator of the weighted mean is a sum of weights, not a number of rows.
        return self.weight[target].sum() / self.weight[step].sum()


class FeatureLoss(Criterion):
    """A criterion of the modalities' pooled features, which does not read outputs.

    Args:
        widths: Modality to D_m.

    Attributes:
        modalities: The modalities, sorted by name.
    """

    def __init__(self, widths: dict[str, int]) -> None:
        super().__init__()
        self.modalities = tuple(sorted(widths))

    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Raise NotImplementedError, since the loss does not depend on outputs."""
        raise NotImplementedError(f"{type(self).__name__} does not read outputs")

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        """Return the scalar loss, in float32 for every precision of the model."""
        # Autocast would cast the projections' matrix products to half precision again.
        with torch.autocast(output.outputs.device.type, enabled=False):
            return self.loss(zero_absent_features(output, self.modalities), output.present, target)

    @abstractmethod
    def loss(self, pooled: dict[str, Tensor], present: dict[str, Tensor], target: Tensor) -> Tensor:
        """Return the scalar loss.

        Args:
            pooled: Modality, by name, to ``(B, D_m)``, zeros where it is absent.
            present: Modality to ``(B,)`` bool.
            target: ``(B,)`` or ``(B, C)``.
        """


class Objective(ABC):
    """Base of all objectives.

    Write an objective to train for another loss. If it reads outputs and targets only, return
    an :class:`OutputLoss` from :meth:`bind`; if it reads the modalities' features, return a
    :class:`FeatureLoss`.

    Constructor arguments are keyword-only, of plain types and annotated, since the config is
    checked against them.

    Example:
        >>> class AbsoluteError(Objective):
        ...     kinds = frozenset({"regression"})
        ...
        ...     def bind(self, target, outputs, widths):
        ...         return OutputLoss(lambda y, t, weight: (y.squeeze(1) - t).abs().mean())
        >>> criterion = AbsoluteError().bind(torch.zeros(8), outputs=1, widths={"image": 4})
        >>> criterion.task_loss(torch.tensor([[1.0], [4.0]]), torch.tensor([0.0, 1.0]))
        tensor(2.)

    Attributes:
        kinds: The kinds of target that it serves: classes, multilabel, regression.
        label_free: Whether it reads neither targets nor outputs and can be used alone; it then
            trains the encoders, but neither fusion nor head.
        reads_outputs: Whether it reads the model's outputs. If not, it would leave the head
            untrained, so it is a term of ``combined``.
        cross_modal: Whether :meth:`bind` needs at least two modalities.
        compares_rows: Whether the loss compares the rows of a batch, so that several small
            batches are not equivalent to one large batch.
        may_be_negative: Whether the loss can be below zero.
        weighs_classes: Whether :meth:`with_class_weights` returns an objective.
        counts_losses: Whether it sums the losses of training rows, each with one label, so that
            it cannot be used with mixed rows of two classes.
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
        """The name by which a config chooses it."""
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
            ValueError: It has no class weights, or they are set already.
        """
        raise ValueError(
            f"{self.name} has no class weights; cross_entropy and focal have them, and so has "
            "combined with one of these among its terms"
        )

    def _check_modalities(self, widths: dict[str, int]) -> None:
        """Raise ValueError if the objective needs more modalities than the task has."""
        if self.cross_modal and len(widths) < 2:
            raise ValueError(
                f"{self.name} compares modalities, so it needs at least two; "
                f"the task has only {', '.join(widths)}"
            )


def raise_precision(x: Tensor) -> Tensor:
    """Return ``x`` in float32, or in float64 if it has that dtype."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _scale(loss: Tensor, share: Tensor | float) -> Tensor:
    """Return the loss times the share, in the dtype of the loss."""
    return loss * (share.to(loss) if isinstance(share, Tensor) else share)


def zero_absent_features(output: ModelOutput, modalities: tuple[str, ...]) -> dict[str, Tensor]:
    """Return each modality's ``(B, D_m)`` pooled features in float32, zeros where absent.

    Rows are replaced: multiplying them by zero would keep NaN and infinity.
    """
    return {
        name: raise_precision(output.pooled[name]).masked_fill(~output.present[name][:, None], 0.0)
        for name in modalities
    }
