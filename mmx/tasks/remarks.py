"""Notes for the user on the rows of a task and its splits, one line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mmx.modalities import Column
from mmx.modalities.tabular_kinds import group_alike
from mmx.tasks.contents import Target
from mmx.tasks.labels import NameRow
from mmx.tasks.splits import SplitRows

FEWEST_VAL = 10
"""Number of validation rows below which a choice on them is mostly chance."""
VALUES_SHOWN = 3
"""Number of repeated rows that a note lists."""


def note_missing(columns: Mapping[str, Column], splits: Mapping[str, SplitRows]) -> Iterator[str]:
    """Yield notes on rows that lack a modality, and on missing cells of a table, by split.

    Args:
        columns: Modality to its column.
        splits: Name to row numbers.
    """
    for text, absent in list_absent(columns):
        yield from _note_absent(text, absent, splits)


def list_absent(columns: Mapping[str, Column]) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Yield which rows lack a cell or a modality, ``(N,)``, with a text for their number."""
    for modality, column in columns.items():
        for name, cells in column.columns.items():
            empty = np.array([cell is None for cell in cells], dtype=np.bool_)
            yield f"{modality}: {{}} cells of '{name}' are missing", empty
        yield f"{modality}: {{}} rows have none", ~column.present


def _note_absent(
    text: str, absent: npt.NDArray[np.bool_], splits: Mapping[str, SplitRows]
) -> Iterator[str]:
    """Yield a note if any used row is absent."""
    each = {name: (int(absent[rows].sum()), len(rows)) for name, rows in splits.items()}
    each = {name: counts for name, counts in each.items() if counts[1]}
    lost, whole = (sum(counts) for counts in zip(*each.values(), strict=True))
    if lost:
        parts = ", ".join(f"{name} {part} of {of}" for name, (part, of) in each.items())
        split = f" ({parts})" if len(each) > 1 else ""
        yield text.format(f"{lost} of {whole}") + split


def note_labels(
    values: npt.NDArray[Any], target: Target, splits: Mapping[str, SplitRows]
) -> Iterator[str]:
    """Yield notes on what cannot be learned or measured: few validation rows, absent classes.

    Args:
        values: Targets of all rows.
        target: Their meaning.
        splits: Name to row numbers; none of the three splits is empty.
    """
    rows = len(splits["val"])
    if rows < FEWEST_VAL:
        yield (
            f"only {rows} validation {'row' if rows == 1 else 'rows'}: a choice on so few rows, "
            "such as that of the best epoch, is mostly chance"
        )
    if target.kind == "multilabel":
        train = values[splits["train"]]
        alike = (train == train[:1]).all(0)
        if same := [name for name, one in zip(target.classes, alike, strict=True) if one]:
            names = _list_values(same)
            yield f"all training rows agree on the label {names}, so it cannot be learned"
    yield from _note_alike(target.classes)
    for split in ("val", "test"):
        own = values[splits[split]]
        if target.kind == "regression":
            if own.min() == own.max():
                yield f"every {split} row has the label {own[0]:g}, so r2 is undefined there"
        elif absent := [name for i, name in enumerate(target.classes) if not _occurs(own, i)]:
            what = "class" if target.kind == "classes" else "label"
            yield f"no {split} row has the {what} {_list_values(absent)}, so it is not measured"


def _note_alike(names: Sequence[str]) -> Iterator[str]:
    """Yield a note on names that differ only in spaces, case or spelling."""
    for group in group_alike(names):
        yield (
            f"{_list_values([repr(name) for name in group])} differ only in spaces, case or "
            "spelling, and count as different labels"
        )


def _occurs(values: npt.NDArray[Any], index: int) -> bool:
    """Return whether class or label ``index`` occurs in ``(n,)`` classes or ``(n, C)`` labels."""
    return bool((values == index).any() if values.ndim == 1 else values[:, index].any())


def note_repeats(
    contents: Mapping[str, npt.NDArray[np.uint8]],
    values: npt.NDArray[Any],
    splits: Mapping[str, SplitRows],
    name_row: NameRow,
) -> Iterator[str]:
    """Yield notes on rows of one split with the same content as a row of another.

    Args:
        contents: Modality to the ``(N, 16)`` digests of all rows.
        values: Targets of all rows.
        splits: Name to row numbers.
        name_row: Returns what a row is called.
    """
    # Sorted, as everywhere: the order of a dict must not matter.
    whole = np.concatenate([contents[name] for name in sorted(contents)], axis=1)
    # The digests of all modalities as one key for each row, (N,).
    keys = np.ascontiguousarray(whole).view(np.dtype((np.void, whole.shape[1]))).ravel()
    for split, other in (("val", "train"), ("test", "train"), ("test", "val")):
        first = {key.tobytes(): row for row, key in _go_backwards(splits[other], keys)}
        pairs = [
            (row, first[key])
            for row in splits[split].tolist()
            if (key := keys[row].tobytes()) in first
        ]
        if pairs:
            contradicting = sum(not np.array_equal(values[a], values[b]) for a, b in pairs)
            yield (
                f"{len(pairs)} of {len(splits[split])} {split} rows are repeated in {other} "
                f"({_format_pairs(pairs, name_row)}), so they measure memorisation"
                + (f"; {contradicting} with another label" if contradicting else "")
            )


def _go_backwards(rows: SplitRows, keys: npt.NDArray[np.void]) -> Iterator[tuple[int, np.void]]:
    """Yield rows and their keys, the last row first, so that a dict of them keeps the first."""
    for row in rows[::-1].tolist():
        yield row, keys[row]


def _format_pairs(pairs: Sequence[tuple[int, int]], name_row: NameRow) -> str:
    shown = ", ".join(
        f"{name_row(row)} is {name_row(other)}" for row, other in pairs[:VALUES_SHOWN]
    )
    return shown + (", …" if len(pairs) > VALUES_SHOWN else "")


def _list_values(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
