"""The contract of every treatment of class imbalance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmx.modalities import Features

RowArray = npt.NDArray[np.int64]


class Weighable(Protocol):
    """An objective that can be balanced."""

    def with_class_weights(self) -> Weighable:
        """Weigh each class by the inverse of its frequency; raises ValueError if it cannot."""


O = TypeVar("O", bound=Weighable)  # noqa: E741


@dataclass(frozen=True)
class Mixed:
    """A batch as the fusion and the objective see it.

    Attributes:
        features: Modality to features.
        target: ``(B,)`` class of each row.
        other: ``(B,)`` class of the row that was mixed in; None if the loss ignores it.
        share: Weight of ``target`` in the loss; ``other`` has weight ``1 - share``.
    """

    features: dict[str, Features]
    target: Tensor
    other: Tensor | None = None
    share: float = 1.0


@dataclass(frozen=True)
class MixedInputs:
    """Inputs of encoders, after rows were mixed.

    Attributes:
        inputs: Input to ``(B, ...)``.
        other: ``(B,)`` class of the row that was mixed in.
        share: Weight of the row's own class in the loss; ``other`` has weight ``1 - share``.
    """

    inputs: dict[str, Tensor]
    other: Tensor
    share: float


class Balance:
    """Base of all treatments; keyword-only, plain, annotated constructor arguments.

    Use one where the metric counts every class equally, such as balanced accuracy, and some
    classes have few training rows. A subclass overrides what it changes: ``objective``,
    ``draw``, ``mix_inputs`` or ``mix``.

    Example:
        >>> class Halve(Balance):
        ...     \"\"\"Shows only the first half of an epoch's rows, each of them twice.\"\"\"
        ...
        ...     def draw(self, rows, labels, generator):
        ...         half = rows[: (len(rows) + 1) // 2]
        ...         return np.concatenate([half, half])[: len(rows)]
        ...
        >>> rows = np.arange(4)
        >>> Halve().draw(rows, rows, np.random.default_rng(0)).tolist()
        [0, 1, 0, 1]

    Attributes:
        kinds: The kinds of target it can be used with.
        mixes_classes: Whether a mixed row may belong to two classes.
        compares_rows: Whether it looks for partners among the rows of a batch.
        mixes_inputs_of: The modality of which ``mix_inputs`` mixes rows; the task may then have
            one input alone, of this modality. Empty for a balance that mixes no inputs.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"classes"})
    mixes_classes: ClassVar[bool] = False
    compares_rows: ClassVar[bool] = False
    mixes_inputs_of: ClassVar[str] = ""

    def objective(self, objective: O) -> O:
        """Return the objective to train with.

        Raises:
            ValueError: This objective cannot be balanced in this way.
        """
        return objective

    def draw(self, rows: RowArray, labels: RowArray, generator: np.random.Generator) -> RowArray:
        """Return the rows of an epoch, as many as ``rows``, in any order.

        Args:
            rows: The training rows.
            labels: ``(len(rows),)`` their classes.
            generator: Source of randomness for this epoch.
        """
        return rows

    def mix_inputs(self, inputs: dict[str, Tensor], target: Tensor) -> MixedInputs | None:
        """Return the inputs with rows mixed, or None if they stay; draws from the torch RNG.

        Args:
            inputs: Input to ``(B, ...)``, augmented and normalised; empty where features were
                computed before. They are not changed.
            target: ``(B,)`` classes.
        """
        return None

    def mix(
        self,
        features: dict[str, Features],
        present: dict[str, Tensor],
        target: Tensor,
        counts: Tensor,
    ) -> Mixed:
        """Return the batch, changed or not; draws from the global torch RNG.

        Args:
            features: Modality to features.
            present: Modality to ``(B,)`` bool.
            target: ``(B,)`` classes.
            counts: ``(C,)`` training rows of each class.
        """
        return Mixed(features, target)


def interpolate(
    features: dict[str, Features], present: dict[str, Tensor], partner: Tensor, share: Tensor
) -> dict[str, Features]:
    """Return share · x_i + (1 - share) · x_partner(i), modality by modality.

    A modality that either row lacks stays as it is in row i, and so does a token that
    either row lacks.

    Args:
        features: Modality to features.
        present: Modality to ``(B,)`` bool.
        partner: ``(B,)`` index of the row mixed into each row.
        share: ``(B,)`` in [0, 1], what row i keeps.
    """
    mixed = {}
    for name, own in features.items():
        both = present[name] & present[name][partner]

        def blend(x: Tensor, both: Tensor = both) -> Tensor:
            shape = (-1, *[1] * (x.dim() - 1))
            kept = share.view(shape).to(x.dtype)
            # An absent row may hold NaN, and NaN · 0 is NaN: select with where, do not multiply.
            blended = kept * x + (1 - kept) * x[partner]
            return torch.where(both.view(shape), blended, x)

        shared = (own.mask & own.mask[partner])[:, :, None]  # (B, T, 1)
        mixed[name] = Features(
            torch.where(shared, blend(own.tokens), own.tokens),
            own.mask,
            blend(own.pooled),
            tuple(blend(level) for level in own.levels),
        )
    return mixed
