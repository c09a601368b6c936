"""Predictions as a table: one line for each row that was asked for, predicted or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mmx.csv_text import format_csv
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

    def csv(self) -> str:
        """Return CSV text, one line for each row; a row without a prediction has empty cells.

        Raises:
            UsageError: A column that is carried over has the name of a column of predictions.
        """
        columns = self.columns()
        return format_csv([list(columns), *zip(*columns.values(), strict=True)])

    def columns(self) -> dict[str, Sequence[object]]:
        """Return column to ``(N,)`` cells; a row without a prediction has the cell ``""``.

        Raises:
            UsageError: A column that is carried over has the name of a column of predictions.
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
        return columns

    def _of_outputs(self) -> dict[str, Sequence[object]]:
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
                columns[f"p({name})"] = [f"{chance:.6f}" for chance in chances[:, index].tolist()]
        return columns

    def _spread(self, cells: Sequence[object]) -> list[object]:
        spread: list[object] = [""] * len(self.names)
        for place, cell in zip(self.answered, cells, strict=True):
            spread[place] = cell
        return spread

    def warnings(self) -> list[str]:
        """Return warnings on rows without a prediction, and on those predicted without a file."""
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

    def _name(self, place: int) -> str:
        name = self.names[place]
        return str(name) if isinstance(name, str) else f"row {name}"


def readable(values: Tensor, target: Target) -> list[object]:
    """Return class names, labels joined by ``|``, or numbers; ``[]`` for no label at all.

    An empty cell means that a row has no prediction.
    """
    if target.kind == "regression":
        return [float(value) for value in values]
    if target.kind == "classes":
        return [target.classes[int(value)] for value in values]
    return [
        "|".join(n for n, there in zip(target.classes, row, strict=True) if there) or "[]"
        for row in values.tolist()
    ]
