"""What penalties of outputs share: they read f through a fusion and head of the source.

Shape legend: ``B`` batch, ``n`` rows of it with any modality that the source can read,
``C`` outputs of the source.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from mmx.modalities import Batch, Features, StepRows
from mmx.transfer.regularizers.base import Penalty, Reference, RegularizerContext, Step
from mmx.transfer.regularizers.features import (
    attach_reference,
    disable_autocast,
    find_compared_modalities,
    make_zero,
    upcast,
)


class DecisionPenalty(Penalty):
    """Base of penalties of the outputs that a fusion and head of the source give for f.

        λ · loss(z, targets),  z = decide(f)

    over the rows that have any modality that the source can read; 0 if there are none. The loss
    is computed in float32 whatever the model runs in. The reference is not a submodule: nothing
    trains or saves it. Derive from it for a penalty of the source's outputs, such as distillation.

    Example:
        >>> from mmx.contract.world import World  # a small source and target
        >>> class MatchPenalty(DecisionPenalty):
        ...     def decide(self, features, present):
        ...         return self.reference.decide(features, present)  # (n, C)
        ...
        ...     def compute_targets(self, batch, rows, present):
        ...         return compute_source_outputs(
        ...             self.reference, self.modalities, batch, rows, present
        ...         )
        ...
        ...     def loss(self, outputs, targets):
        ...         return (outputs - targets).square().mean()
        >>> world = World(moved=0.0)
        >>> MatchPenalty(world.make_context(), "match", strength=1.0)(world.step()).item()
        0.0

    Args:
        context: What :func:`~mmx.transfer.regularizers.features.find_compared_modalities` accepts.
        name: Name of the regulariser.
        strength: λ, the weight of the penalty in the loss.
    """

    reference: Reference

    def __init__(self, context: RegularizerContext, name: str, strength: float) -> None:
        super().__init__()
        reference, self.modalities = find_compared_modalities(context, name)
        attach_reference(self, reference)
        self.strength = strength

    def forward(self, step: Step) -> Tensor:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Penalty`."""
        rows = find_readable_rows(step.batch, self.modalities)
        if len(rows) == 0:
            return make_zero(step)
        present = {name: step.batch.present[name][rows] for name in self.modalities}
        outputs = self.decide(select_features(step.features, self.modalities, rows), present)
        targets = self.compute_targets(step.batch, rows, present)
        with disable_autocast(step):
            return self.strength * self.loss(upcast(outputs), targets)

    def part(self, step: Step, rows: StepRows) -> Tensor:
        """Return a batch's part of the mean over the step's rows; see Penalty."""
        if not rows.present:
            return super().part(step, rows)
        # A mean over this batch's readable rows becomes a part of that over the step's.
        everyone = torch.stack([rows.present[name] for name in self.modalities]).any(0).sum()
        penalty: Tensor = self(step)
        # clamp: a step may have no such row, and this penalty is then 0 already.
        return penalty * (
            len(find_readable_rows(step.batch, self.modalities)) / everyone.clamp(min=1)
        )

    @abstractmethod
    def decide(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return z ``(n, C)``; gradients flow into the features."""

    @abstractmethod
    def compute_targets(self, batch: Batch, rows: Tensor, present: dict[str, Tensor]) -> Tensor:
        """Return what z is compared with, ``(n, C)``, without gradient.

        Args:
            batch: The batch.
            rows: ``(n,)`` numbers of the rows that the source can read.
            present: Modality to ``(n,)`` bool.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar, a mean over rows."""


class SoftPenalty(DecisionPenalty):
    """T² · KL(softmax(z0/T) ‖ softmax(z/T)), where z0 are the trained source's own outputs.

    Args:
        context: See :class:`DecisionPenalty`.
        name: Name of the regulariser.
        strength: λ, the weight of the penalty in the loss.
        temperature: T.
    """

    def __init__(
        self, context: RegularizerContext, name: str, strength: float, temperature: float
    ) -> None:
        super().__init__(context, name, strength)
        self.temperature = temperature

    def compute_targets(self, batch: Batch, rows: Tensor, present: dict[str, Tensor]) -> Tensor:
        """Return z0; see :class:`DecisionPenalty`."""
        return compute_source_outputs(self.reference, self.modalities, batch, rows, present)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar; see :class:`DecisionPenalty`."""
        return soft_divergence(outputs, targets, self.temperature)


def compute_source_outputs(
    reference: Reference,
    modalities: tuple[str, ...],
    batch: Batch,
    rows: Tensor,
    present: dict[str, Tensor],
) -> Tensor:
    """Return z0 ``(n, C)``, the trained source's outputs for rows of a batch, without gradient."""
    with torch.no_grad():
        features = select_features(reference.features(batch), modalities, rows)
        return upcast(reference.decide(features, present))


def find_readable_rows(batch: Batch, modalities: tuple[str, ...]) -> Tensor:
    """Return the ``(n,)`` numbers of the rows that have any of the modalities."""
    # A modality that every row has: no need to look, which on CUDA would wait for the device.
    if batch.complete.intersection(modalities):
        return torch.arange(len(batch), device=batch.target.device)
    here = torch.stack([batch.present[name] for name in modalities]).any(0)
    return here.nonzero().squeeze(1)


def select_features(
    features: dict[str, Features], modalities: tuple[str, ...], rows: Tensor
) -> dict[str, Features]:
    """Return the features of some rows and modalities, floating-point numbers in full precision."""

    def pick(x: Tensor) -> Tensor:
        # Masks are bool, and stay so.
        return upcast(x[rows]) if x.is_floating_point() else x[rows]

    return {name: features[name].map(pick) for name in modalities}


def soft_divergence(outputs: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return T² · KL(softmax(z0/T) ‖ softmax(z/T)), a mean over the rows.

    The factor T² makes up for gradients that shrink as 1/T² (Hinton et al. 2015, section 2).

    Args:
        outputs: z ``(n, C)``.
        targets: z0 ``(n, C)``.
        temperature: T.
    """
    # batchmean sums over classes and averages over rows, as KL is defined; mean would divide by C.
    new = F.log_softmax(outputs / temperature, dim=1)
    old = F.log_softmax(targets / temperature, dim=1)
    # T² keeps the gradient's size as T grows (Hinton et al. 2015); both arguments are logarithms.
    return temperature**2 * F.kl_div(new, old, reduction="batchmean", log_target=True)
