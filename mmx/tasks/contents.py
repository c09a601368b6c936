"""What a task reads, and what loading one gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mmx.modalities import Column
from mmx.tasks.splits import SplitRows

Kind = Literal["classes", "multilabel", "regression"]


@dataclass(frozen=True)
class Target:
    """What is to be predicted.

    Attributes:
        kind: One class a row, several labels a row, or a number.
        classes: Class (or label) names in index order; empty for regression.
        mean, std: Of the training targets, regression only: models predict
            ``(y - mean) / std``, metrics and predictions are numbers such as y.
    """

    kind: Kind
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    @property
    def outputs(self) -> int:
        """C, the number of model outputs."""
        return 1 if self.kind == "regression" else len(self.classes)

    def standardize(self, values: Tensor) -> Tensor:
        """Return what a model is trained on, float32 for numbers; classes and labels as they are.

        Args:
            values: ``(N,)`` or ``(N, C)``, as in :class:`TaskData`.
        """
        if self.kind != "regression":
            return values
        return ((values.double() - self.mean) / self.std).float()

    def restore(self, outputs: Tensor) -> Tensor:
        """Return ``(N,)`` numbers such as y, in float64, of a model's ``(N, 1)`` outputs."""
        return outputs.squeeze(1).double() * self.std + self.mean


@dataclass(frozen=True)
class Samples:
    """What a task reads, before it is split.

    Attributes:
        columns: Modality to raw values of all N rows.
        values: ``(N,)`` class indices, ``(N, C)`` 0 and 1 of several labels, or ``(N,)``
            numbers. Any dtype that holds them will do; numbers best as float64.
        classes: Class (or label) names in index order; empty for regression.
        splits: The splits that the data gives, with their row numbers. What has no
            ``train`` has only ``test``; where ``val`` is not given, it is cut from ``train``.
            A row in no split is never used, and no row is in two.
        notes: What a reader should know, one line each.
    """

    columns: dict[str, Column]
    values: npt.NDArray[Any]
    classes: tuple[str, ...]
    splits: dict[str, SplitRows]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskData:
    """A task's data, opened.

    Attributes:
        name: The task's name.
        columns: Modality to raw values of all N rows.
        values: Targets of all N rows: ``(N,)`` int64, ``(N, C)`` float32 multi-label, or
            ``(N,)`` float64, the numbers themselves. Zeros for rows in no split.
        target: What the values mean.
        splits: ``train``, ``val`` and ``test`` to row numbers; disjoint. Rows in none of
            them are not used.
        fingerprint: Hex digest of contents, labels and splits; independent of paths.
        digests: Modality to ``(N,)`` uint64 content hashes, 0 where absent or in no
            split; they tell whether two tasks share samples.
        notes: What a reader should know, one line each (missing cells, dropped rows).
    """

    name: str
    columns: dict[str, Column]
    values: Tensor
    target: Target
    splits: dict[str, npt.NDArray[np.int64]]
    fingerprint: str
    digests: dict[str, npt.NDArray[np.uint64]]
    notes: tuple[str, ...] = field(default=())
