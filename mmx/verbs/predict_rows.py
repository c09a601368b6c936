"""Predictions as a table: one line for each row that was asked for, predicted or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmx.errors import DataError, UsageError
from mmx.evaluation.metrics import decide
from mmx.tasks import Target

REASON = "reason"
"""Column that says why a row has no prediction, or which of its files do not exist."""


@dataclass(frozen=True)
class RowAnswers:
    """A model's predictions of the rows that it was asked for.

    Attributes:
        names: ``(N,)`` file names, or row numbers from 1, not counting the table's header.
        answered: Indices into ``names`` of the A rows with a prediction, in order.
        outputs: Outputs ``(A, C)`` of those rows.
        target: What the outputs mean.
        known: ``(A,)`` or ``(A, C)`` the true targets, where they are known.
        unusable: Index into ``names`` to the reason why the row has no prediction.
        incomplete: Index to the missing files of a row that is predicted without them.
        kept: Column of the input to its ``(N,)`` cells, carried over.
    """

    names: Sequence[object]
    answered: Sequence[int]
    outputs: Tensor
    target: Target
    known: Tensor | None = None
    unusable: Mapping[int, str] = field(default_factory=dict)
    incomplete: Mapping[int, str] = field(default_factory=dict)
    kept: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def join(cls, parts: Sequence[RowAnswers]) -> RowAnswers:
        """Return the answers of several parts, of which there is at least one, as one."""
        names: list[object] = []
        answered: list[int] = []
        unusable: dict[int, str] = {}
        incomplete: dict[int, str] = {}
        kept: dict[str, list[str]] = {name: [] for name in parts[0].kept}
        for part in parts:
            start = len(names)
            names += part.names
            answered += [start + place for place in part.answered]
            unusable |= {start + place: why for place, why in part.unusable.items()}
            incomplete |= {start + place: why for place, why in part.incomplete.items()}
            for name, cells in kept.items():
                cells += part.kept[name]
        known = [part.known for part in parts if part.known is not None]
        return cls(
            names=names,
            answered=answered,
            outputs=torch.cat([part.outputs for part in parts]),
            target=parts[0].target,
            known=torch.cat(known) if known else None,
            unusable=unusable,
            incomplete=incomplete,
            kept=kept,
        )

    def columns(self, *, text: bool = True) -> dict[str, Sequence[object]]:
        """Return column to ``(N,)`` cells; a row without a prediction has the cell ``""``.

        Args:
            text: Whether probabilities are text with six digits, as in CSV, or numbers.

        Raises:
            UsageError: A column that is carried over has the name of a column of predictions.
        """
        first = "file" if isinstance(self.names[0], str) else "row"
        columns: dict[str, Sequence[object]] = {first: self.names}
        found = self._of_outputs(text)
        taken = [name for name in self.kept if name in (first, *found, REASON)]
        if taken:
            raise UsageError(
                f"--keep {taken[0]}: predictions have a column of that name already",
                tip=f"rename the column {taken[0]!r} of the table",
            )
        columns |= self.kept
        columns |= {name: self._spread(cells) for name, cells in found.items()}
        reasons = {**self.incomplete, **self.unusable}
        columns[REASON] = [reasons.get(place, "") for place in range(len(self.names))]
        return columns

    def _of_outputs(self, text: bool) -> dict[str, Sequence[object]]:
        """Return the columns that only predicted rows fill."""
        target = self.target
        columns: dict[str, Sequence[object]] = {
            "prediction": readable(decide(self.outputs, target), target)
        }
        if self.known is not None:
            columns["target"] = readable(self.known, target)
        if target.kind != "regression":
            softmax = target.kind == "classes"
            chances = self.outputs.softmax(1) if softmax else self.outputs.sigmoid()
            for index, name in enumerate(target.classes):
                cells = chances[:, index].tolist()
                columns[f"p({name})"] = [f"{cell:.6f}" for cell in cells] if text else cells
        return columns

    def _spread(self, cells: Sequence[object]) -> list[object]:
        spread: list[object] = [""] * len(self.names)
        for place, cell in zip(self.answered, cells, strict=True):
            spread[place] = cell
        return spread

    def name(self, place: int) -> str:
        """Return what a row is called in messages."""
        name = self.names[place]
        return str(name) if isinstance(name, str) else f"row {name}"


@dataclass
class RowCounts:
    """How many rows have a full answer, and how many have none or one without all files.

    Attributes:
        rows: Number of rows.
        answered: Number of rows with a prediction.
        unusable: Number of rows without one, and ...
        first_unusable: the first of them, with the reason.
        incomplete: Number of rows that are predicted without a file, and ...
        first_incomplete: the first of them, with the reason.
    """

    rows: int = 0
    answered: int = 0
    unusable: int = 0
    first_unusable: str = ""
    incomplete: int = 0
    first_incomplete: str = ""

    def add(self, answers: RowAnswers) -> None:
        """Count some more rows."""
        self.rows += len(answers.names)
        self.answered += len(answers.answered)
        self.unusable += len(answers.unusable)
        self.incomplete += len(answers.incomplete)
        for place, why in answers.unusable.items():
            self.first_unusable = self.first_unusable or f"{answers.name(place)}: {why}"
        for place, why in answers.incomplete.items():
            self.first_incomplete = self.first_incomplete or f"{answers.name(place)}: {why}"

    def warnings(self) -> list[str]:
        """Return warnings on rows without a prediction, and on those predicted without a file."""
        lines = []
        if self.unusable:
            lines.append(
                f"{self.unusable} of {self.rows} rows have no prediction; {self.first_unusable}"
            )
        if self.incomplete:
            lines.append(
                f"{self.incomplete} of {self.rows} rows name files that do not exist, and are "
                f"predicted without them; {self.first_incomplete}"
            )
        return lines

    def require_all(self) -> None:
        """Refuse predictions that are incomplete.

        Raises:
            DataError: A row has no prediction, or was predicted without a file that it names.
        """
        if lines := self.warnings():
            raise DataError(
                "\n".join(lines),
                tip="mend the rows; without --strict the others are answered, and the column "
                f"'{REASON}' says why",
            )


def readable(values: Tensor, target: Target) -> list[object]:
    """Return class names, labels joined by ``|``, or numbers; ``[]`` for no label at all.

    An empty cell means that a row has no prediction.
    """
    if target.kind == "regression":
        return values.tolist()
    if target.kind == "classes":
        return [target.classes[int(value)] for value in values.tolist()]
    return [
        "|".join(n for n, there in zip(target.classes, row, strict=True) if there) or "[]"
        for row in values.tolist()
    ]
