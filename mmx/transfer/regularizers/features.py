"""What penalties of features share: which rows count, the precision, and the mean.

Shape legend: ``B`` batch, ``n`` rows of it that have a modality, ``D`` width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from mmx.errors import TransferError
from mmx.modalities import Batch, StepRows
from mmx.transfer.regularizers.base import Penalty, Reference, RegularizerContext, Step

Strength = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
SofteningTemperature = Annotated[float, Field(gt=0, le=10000, allow_inf_nan=False)]


class ModalityPenalty(Penalty):
    """Base of penalties λ · mean_m R_m, over the modalities m that any row of the batch has.

    Args:
        strength: λ, the weight of the penalty in the loss.

    Attributes:
        modalities: Their names.
        compares_rows: As the regulariser says; where it does not, R_m is a mean over the rows that
            have the modality, and the parts of an accumulated step sum to the whole.
    """

    compares_rows: ClassVar[bool] = False
    modalities: tuple[str, ...]

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    @abstractmethod
    def terms(self, step: Step) -> Iterator[tuple[str, Tensor]]:
        """Yield each modality that has enough rows in the batch, and its scalar R_m."""

    def forward(self, step: Step) -> Tensor:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Penalty`."""
        terms = [term for _, term in self.terms(step)]
        with disable_autocast(step):
            return average_terms(self.strength, terms, step)

    def part(self, step: Step, rows: StepRows) -> Tensor:
        """Return a batch's part, of each modality's mean over the step's rows; see Penalty."""
        if self.compares_rows or not rows.present:
            return super().part(step, rows)
        total, here = make_zero(step), step.batch.present
        # n_m / N_m of the step turns the mean over this batch's rows into its part of the step's
        # mean.
        for name, term in self.terms(step):
            total = total + term * (here[name].sum() / rows.present[name].sum())
        # Modalities that the whole step lacks have no mean, and do not count.
        read = [rows.present[name].any() for name in self.modalities]
        return self.strength * total / torch.stack(read).sum().clamp(min=1)


class FeaturePenalty(ModalityPenalty):
    """Base of penalties of pooled features, modality by modality.

        λ · mean_m term(f_m)

    over the modalities that have enough rows in the batch, each over the rows that have it; 0 if
    there is no such modality. Computed in float32 whatever the model runs in. Derive from it for a
    penalty that does not use the source's features of the same rows.

    Example:
        >>> from mmx.contract.world import World  # a small source and target
        >>> class ShrinkPenalty(FeaturePenalty):
        ...     def term(self, name, x):  # (n, D)
        ...         return x.square().sum(1).mean()
        >>> ShrinkPenalty(("image", "text"), strength=1.0)(World().step()).item() > 0
        True

    Args:
        modalities: Their names.
        strength: λ, the weight of the penalty in the loss.

    Attributes:
        fewest: The number of rows that a term needs.
    """

    fewest: ClassVar[int] = 1

    def __init__(self, modalities: tuple[str, ...], strength: float) -> None:
        super().__init__(strength)
        self.modalities = modalities

    def terms(self, step: Step) -> Iterator[tuple[str, Tensor]]:
        """Yield the modalities with rows enough; see :class:`ModalityPenalty`."""
        with disable_autocast(step):
            # By rows first: rows without the modality may hold anything, and must not reach the
            # mean.
            for name in self.modalities:
                x = upcast(select_rows(name, step.batch, step.features[name].pooled))
                if len(x) >= self.fewest:
                    yield name, self.term(name, x)

    @abstractmethod
    def term(self, name: str, x: Tensor) -> Tensor:
        """Return the scalar of one modality's features ``(n, D)``."""


class ComparedPenalty(ModalityPenalty):
    """Base of penalties that compare pooled features with the source's for the same rows.

        λ · mean_m term(f_m, f0_m)

    over the same modalities and rows as :class:`FeaturePenalty`. f may be wider or narrower
    than f0. The reference is not a submodule: nothing trains or saves it. See
    :class:`~mmx.transfer.regularizers.base.Regularizer` for an example.

    Args:
        context: What :func:`find_compared_modalities` accepts.
        name: Name of the regulariser.
        strength: λ, the weight of the penalty in the loss.
    """

    reference: Reference

    def __init__(self, context: RegularizerContext, name: str, strength: float) -> None:
        super().__init__(strength)
        reference, self.modalities = find_compared_modalities(context, name)
        attach_reference(self, reference)

    def terms(self, step: Step) -> Iterator[tuple[str, Tensor]]:
        """Yield the modalities that any row has; see :class:`ModalityPenalty`."""
        reference = self.reference.features(step.batch)
        with disable_autocast(step):
            for name in self.modalities:
                x = upcast(select_rows(name, step.batch, step.features[name].pooled))
                x0 = upcast(select_rows(name, step.batch, reference[name].pooled))
                if len(x):
                    yield name, self.term(x, x0)

    @abstractmethod
    def term(self, x: Tensor, x0: Tensor) -> Tensor:
        """Return the scalar of one modality, from f ``(n, D)`` and f0 ``(n, D0)``."""


def find_compared_modalities(
    context: RegularizerContext, name: str
) -> tuple[Reference, tuple[str, ...]]:
    """Return the reference and the sorted names of the modalities that it and the target share.

    Args:
        context: Must have a reference.
        name: Name of the regulariser.

    Raises:
        TransferError: There is no reference, or it shares no modality with the target.
    """
    if context.reference is None:
        raise TransferError(f"regularizer={name} needs a trained source")
    # Sorted: the order in which terms are added, and so their rounding, depends on names alone.
    shared = tuple(sorted(set(context.reference.modalities) & context.widths.keys()))
    return context.reference, require_any(shared, name)


def take_source_rows(context: RegularizerContext, name: str, fewest: int) -> dict[str, Tensor]:
    """Return f0 ``(N, D)`` of the source's own rows for each modality of the target.

    Args:
        context: Its source features are computed once.
        name: Name of the regulariser.
        fewest: The least N; modalities with fewer rows are left out.

    Raises:
        TransferError: No modality is left.
    """
    found = context.source_features()
    kept = sorted(
        each for each in found.keys() & context.widths.keys() if len(found[each]) >= fewest
    )
    # Detached: the source's features are constants of the penalty.
    return {each: upcast(found[each].detach()) for each in require_any(tuple(kept), name)}


def require_any(modalities: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Return the modalities.

    Raises:
        TransferError: There is none.
    """
    if not modalities:
        raise TransferError(
            f"regularizer={name}: the source can read no modality of the target",
            tip="regularizer=none",
        )
    return modalities


def attach_reference(penalty: Penalty, reference: Reference) -> None:
    """Set ``penalty.reference`` without making the source's model a submodule of the penalty."""
    # nn.Module registers any module that is set as an attribute: its parameters would be trained,
    # saved in checkpoints, and put into training mode.
    object.__setattr__(penalty, "reference", reference)


def select_rows(name: str, batch: Batch, x: Tensor) -> Tensor:
    """Return the rows of ``x`` ``(B, …)`` that have a modality, ``(n, …)``."""
    return x if name in batch.complete else x[batch.present[name]]


def upcast(x: Tensor) -> Tensor:
    """Return ``x`` in float32, or in float64 if it already is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def disable_autocast(step: Step) -> torch.autocast:
    """Return a context in which no operation is cast to half precision."""
    return torch.autocast(step.outputs.device.type, enabled=False)


def average_terms(strength: float, terms: list[Tensor], step: Step) -> Tensor:
    """Return ``strength`` times the mean of scalars; 0 if there are none."""
    return strength * torch.stack(terms).mean() if terms else make_zero(step)


def make_zero(step: Step) -> Tensor:
    """Return 0, for a batch in which no row counts."""
    # Of the outputs' device; detached, so that no gradient of zeros reaches the model.
    return upcast(step.outputs.detach()).new_zeros(())


def compute_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the ``(n, m)`` Euclidean distances of ``x`` ``(n, D)`` and ``y`` ``(m, D)``.

    Computed from differences, not from products: two equal rows have distance exactly 0, and the
    gradient there is 0.
    """
    # ‖x‖² + ‖y‖² - 2 xᵀy would lose all digits for nearly equal rows.
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
