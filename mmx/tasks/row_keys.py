"""Keys by which rows are split: the group of each row, or its time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmx.errors import DataError
from mmx.modalities.files import name_row as number_row
from mmx.modalities.tabular_kinds import group_alike
from mmx.tasks.advice import type_task_option
from mmx.tasks.labels import NameRow
from mmx.tasks.spelling import unify_spelling
from mmx.tasks.splits import SplitRows


@dataclass(frozen=True)
class RowKeys:
    """What rows are split by.

    Attributes:
        name: Of the column, for messages.
        of_rows: Index of each row's key, ``(N,)`` int64; -1 for rows without one, which no split
            may use. Indices of times ascend with time.
        names: Keys in index order, as they are written.
        name_row: Returns what a row is called in messages.
    """

    name: str
    of_rows: npt.NDArray[np.int64]
    names: tuple[str, ...]
    name_row: NameRow = number_row

    def name_of(self, row: int) -> str:
        """Return a row's key as it is written."""
        return self.names[int(self.of_rows[row])]

    def count(self, rows: SplitRows) -> int:
        """Return the number of different keys of some rows."""
        return len(np.unique(self.of_rows[rows]))


def read_row_groups(
    name: str, texts: Sequence[str | None], rows: SplitRows, name_row: NameRow = number_row
) -> RowKeys:
    """Return the groups of rows; spaces around a name do not count, and ``1.0`` is ``1``.

    Args:
        name: Of the column.
        texts: A cell for each of the N rows, None where it is missing.
        rows: The rows that must have a group.
        name_row: Returns what a row is called in messages.

    Raises:
        DataError: One of them has none.
    """
    refuse_missing("group", name, texts, rows, name_row)
    known = _join_spellings({row: (texts[row] or "").strip() for row in rows.tolist()})
    names = tuple(sorted(set(known.values())))
    index = {each: place for place, each in enumerate(names)}
    of_rows = np.full(len(texts), -1, dtype=np.int64)
    for row, each in known.items():
        of_rows[row] = index[each]
    return RowKeys(name, of_rows, names, name_row)


def _join_spellings(known: dict[int, str]) -> dict[int, str]:
    """Return the names of rows, in one spelling where two spellings are of one name."""
    names = sorted(set(known.values()))
    unified = {
        name: str(other) for name, other in zip(names, unify_spelling([*names]), strict=True)
    }
    if len(set(unified.values())) == len(names):
        return known  # as they are written, so that their order stays
    return {row: unified[name] for row, name in known.items()}


def note_alike(groups: RowKeys) -> Iterator[str]:
    """Yield a note for groups that may be one: rows of it may then be in two splits."""
    for names in group_alike(groups.names):
        yield (
            f"groups {', '.join(map(repr, names))} in column '{groups.name}' differ only in "
            "spaces, case or spelling, and count as different groups"
        )


def refuse_missing(
    option: str, name: str, texts: Sequence[str | None], rows: SplitRows, name_row: NameRow
) -> None:
    """Refuse rows without a key: they could belong to any split.

    Raises:
        DataError: A cell is missing; the message says in which row.
    """
    lost = [row for row in rows.tolist() if texts[row] is None]
    if lost:
        raise DataError(
            f"{name_row(lost[0])} has no {option}: its cell of column '{name}' is missing; "
            f"{len(lost)} of {len(rows)} rows have none",
            tip=f"fill in the column, or split without it: {type_task_option(option, None)}",
        )
