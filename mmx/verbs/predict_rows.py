"""Predictions as a table: one line for each row that was asked for, answered or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mmx.csv_text import csv_text
from mmx.errors import DataError, UsageError
from mmx.evaluation.metrics import decide
from mmx.tasks import Target

REASON = "reason"
"""Column that says why a row has no prediction, or what its prediction had to do without."""


@dataclass(frozen=True)
class RowAnswers:
    """What a model says of the rows that it was asked for.

    Attributes:
        names: ``(N,)`` file names, or row numbers counted from 1 without the table's head.
        answered: Places in ``names`` that have an output, in order.
        outputs: ``(A, C)`` of those rows.
        target: What the outputs mean.
        known: ``(A,)`` or ``(A, C)`` the true targets, where they are known.
        unusable: Place to why the row has no prediction.
        incomplete: Place to the files that a row with a prediction names and that do not exist.
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

    def csv(self) -> str:
        """Return CSV text, one line for each row; a row without an answer has empty cells.

        Raises:
            UsageError: A column that is carried over has the name of one of these.
        """
        first = "file" if isinstance(self.names[0], str) else "row"
        columns: dict[str, Sequence[object]] = {first: self.names}
        found = self._of_outputs()
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
        return csv_text([list(columns), *zip(*columns.values(), strict=True)])

    def _of_outputs(self) -> dict[str, Sequence[object]]:
        """Return the columns that only answered rows have."""
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
                columns[f"p({name})"] = [f"{chance:.6f}" for chance in chances[:, index].tolist()]
        return columns

    def _spread(self, cells: Sequence[object]) -> list[object]:
        spread: list[object] = [""] * len(self.names)
        for place, cell in zip(self.answered, cells, strict=True):
            spread[place] = cell
        return spread

    def warnings(self) -> list[str]:
        """Return what a reader of the predictions must know, one line each."""
        total, lines = len(self.names), []
        if self.unusable:
            place, why = next(iter(self.unusable.items()))
            lines.append(
                f"{len(self.unusable)} of {total} rows have no prediction; "
                f"{self._name(place)}: {why}"
            )
        if self.incomplete:
            place, why = next(iter(self.incomplete.items()))
            lines.append(
                f"{len(self.incomplete)} of {total} rows name files that do not exist, and are "
                f"predicted without them; {self._name(place)}: {why}"
            )
        return lines

    def require_all(self) -> None:
        """Refuse predictions that are not of whole rows.

        Raises:
            DataError: A row has none, or was predicted without a file that it names.
        """
        if lines := self.warnings():
            raise DataError(
                "\n".join(lines),
                tip="mend the rows; without --strict the others are answered, and the column "
                f"'{REASON}' says why",
            )

    def _name(self, place: int) -> str:
        name = self.names[place]
        return str(name) if isinstance(name, str) else f"row {name}"


def readable(values: Tensor, target: Target) -> list[object]:
    """Return class names, labels joined by ``|``, or numbers."""
    if target.kind == "regression":
        return [float(value) for value in values]
    if target.kind == "classes":
        return [target.classes[int(value)] for value in values]
    return [
        "|".join(n for n, there in zip(target.classes, row, strict=True) if there)
        for row in values.tolist()
    ]
