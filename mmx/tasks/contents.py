"""The types of a task's content: what it reads, and what loading it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mmx.modalities import Column
from mmx.tasks.row_keys import RowKeys
from mmx.tasks.splits import SplitRows

Kind = Literal["classes", "multilabel", "regression"]


@dataclass(frozen=True)
class Target:
    """What a task predicts.

    Attributes:
        kind: One class for each row, several labels for each row, or a number.
        classes: Class (or label) names in index order; empty for regression.
        mean, std: Mean and standard deviation of the training targets, for regression only:
            models predict ``(y - mean) / std``, while metrics and predictions are in units of y.
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
        """Return the targets of training: standardised numbers in float32; others unchanged.

        Args:
            values: ``(N,)`` or ``(N, C)``, as in :class:`TaskData`.
        """
        if self.kind != "regression":
            return values
        # float64 first: large numbers that differ little would be equal in float32.
        return ((values.double() - self.mean) / self.std).float()

    def restore(self, outputs: Tensor) -> Tensor:
        """Return ``(N,)`` float64 numbers in units of y from a model's ``(N, 1)`` outputs."""
        return outputs.squeeze(1).double() * self.std + self.mean


@dataclass(frozen=True)
class Origin:
    """Where data was fetched from.

    Attributes:
        name: ``owner/name`` of a repository.
        revision: Its commit.
        licence: As its card states it; None where it does not.
    """

    name: str
    revision: str
    licence: str | None = None


@dataclass(frozen=True)
class Samples:
    """What a task reads, before it is split.

    Attributes:
        columns: Modality to raw values of all N rows.
        values: ``(N,)`` class indices, ``(N, C)`` 0 and 1 of several labels, or ``(N,)``
            numbers, in any dtype that can hold them; float64 is best for numbers.
        classes: Class (or label) names in index order; empty for regression.
        splits: Name to row numbers, for the splits of the data. Without ``train`` there is
            only ``test``; without ``val`` it is cut from ``train``, and so is ``test`` for a
            :class:`~mmx.tasks.base.CutTask`. A row in no split is never used, and no row is in
            two splits.
        notes: Notes for the user, one line each.
        groups: Group of each row; no cut puts one into two splits. None: any row may be in any.
        times: Time of each row; cuts take the latest. None: cuts are drawn.
        column_uses: Column of a table to what it is read as, such as ``image`` or ``label``;
            "" for one that is not read. Empty where the data is no table.
        origin: The repository that it was fetched from, if it was.
    """

    columns: dict[str, Column]
    values: npt.NDArray[Any]
    classes: tuple[str, ...]
    splits: dict[str, SplitRows]
    notes: tuple[str, ...] = ()
    groups: RowKeys | None = None
    times: RowKeys | None = None
    column_uses: Mapping[str, str] = field(default_factory=dict)
    origin: Origin | None = None


@dataclass(frozen=True)
class TaskData:
    """The opened data of a task.

    Attributes:
        name: The task's name.
        columns: Modality to raw values of all N rows.
        values: Targets of all N rows: ``(N,)`` int64, ``(N, C)`` float32 multi-label, or
            ``(N,)`` float64 numbers, not standardised. Zeros for rows in no split.
        target: The meaning of the values.
        splits: ``train``, ``val`` and ``test`` to row numbers; disjoint. Rows in none of
            them are not used.
        fingerprint: Hex digest of contents, labels and splits; independent of paths.
        digests: Modality to ``(N,)`` uint64 digests of the content, 0 where absent or in no
            split; they show whether two tasks share rows.
        notes: Notes for the user, one line each (missing cells, dropped rows).
        column_uses: As in :class:`Samples`.
        origin: The repository that it was fetched from, if it was.
    """

    name: str
    columns: dict[str, Column]
    values: Tensor
    target: Target
    splits: dict[str, npt.NDArray[np.int64]]
    fingerprint: str
    digests: dict[str, npt.NDArray[np.uint64]]
    notes: tuple[str, ...] = field(default=())
    column_uses: Mapping[str, str] = field(default_factory=dict)
    origin: Origin | None = None
