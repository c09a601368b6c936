"""What a reader should know of a task's rows as they were split: notes, one line each.

Row numbers count from 1, as in a table without its header.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mmx.modalities import Column
from mmx.modalities.tabular import TabularColumn
from mmx.tasks.contents import Target
from mmx.tasks.splits import SplitRows

FEWEST_VAL = 10
"""Validation rows below which what is chosen on them is mostly chance."""
VALUES_SHOWN = 3
"""Repeated rows that a note names."""

Splits = Mapping[str, SplitRows]


def note_missing(columns: Mapping[str, Column], splits: Splits) -> Iterator[str]:
    """Yield how many rows of each split lack a modality, and how many cells of a table are empty.

    Args:
        columns: Modality to its column.
        splits: Name to row numbers.
    """
    for modality, column in columns.items():
        if isinstance(column, TabularColumn):
            for name, cells in column.columns.items():
                empty = np.array([cell is None for cell in cells], dtype=np.bool_)
                yield from _note_absent(
                    f"{modality}: {{}} cells of '{name}' are missing", empty, splits
                )
        yield from _note_absent(f"{modality}: {{}} rows have none", ~column.present, splits)


def _note_absent(text: str, absent: npt.NDArray[np.bool_], splits: Splits) -> Iterator[str]:
    """Yield a note where any row in use is absent."""
    each = {name: (int(absent[rows].sum()), len(rows)) for name, rows in splits.items()}
    each = {name: counts for name, counts in each.items() if counts[1]}
    lost, whole = (sum(counts) for counts in zip(*each.values(), strict=True))
    if lost:
        parts = ", ".join(f"{name} {part} of {of}" for name, (part, of) in each.items())
        split = f" ({parts})" if len(each) > 1 else ""
        yield text.format(f"{lost} of {whole}") + split


def note_labels(values: npt.NDArray[Any], target: Target, splits: Splits) -> Iterator[str]:
    """Yield what the labels leave unmeasured: few validation rows, classes or numbers not there.

    Args:
        values: Of all rows.
        target: What they mean.
        splits: Name to row numbers, all three of them with rows.
    """
    rows = len(splits["val"])
    if rows < FEWEST_VAL:
        yield (
            f"only {rows} validation {'row' if rows == 1 else 'rows'}: what is chosen on so few, "
            "such as the best epoch, is mostly chance"
        )
    if target.kind == "multilabel":
        train = values[splits["train"]]
        alike = (train == train[:1]).all(0)
        if same := [name for name, one in zip(target.classes, alike, strict=True) if one]:
            names = _list_values(same)
            yield f"all training rows agree on the label {names}: nothing is learned of it"
    yield from _alike(target.classes)
    for split in ("val", "test"):
        own = values[splits[split]]
        if target.kind == "regression":
            if own.min() == own.max():
                yield f"every {split} row has the label {own[0]:g}: r2 has no meaning there"
        elif absent := [name for i, name in enumerate(target.classes) if not _any(own, i)]:
            what = "class" if target.kind == "classes" else "label"
            yield f"no {split} row has the {what} {_list_values(absent)}: nothing is measured of it"


def _alike(names: Sequence[str]) -> Iterator[str]:
    """Yield a note of names that a reader would take for one."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_plain(name), []).append(name)
    for group in groups.values():
        if len(group) > 1:
            yield (
                f"{_list_values([repr(name) for name in group])} differ in spaces, case or "
                "spelling alone, and are labels of their own"
            )


def _plain(name: str) -> str:
    """Return a name without what a reader overlooks; one spelling of each number."""
    text = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    try:
        return str(float(text))
    except ValueError:
        return text


def _any(values: npt.NDArray[Any], index: int) -> bool:
    """Return whether any of ``(n,)`` classes is this one, or any of ``(n, C)`` rows has it."""
    return bool((values == index).any() if values.ndim == 1 else values[:, index].any())


def note_repeats(
    contents: Mapping[str, npt.NDArray[np.uint8]],
    values: npt.NDArray[Any],
    splits: Splits,
) -> Iterator[str]:
    """Yield how many rows of one split have the content of a row of another.

    Args:
        contents: Modality to the ``(N, 16)`` digests of all rows.
        values: Targets of all rows.
        splits: Name to row numbers.
    """
    whole = np.concatenate([contents[name] for name in sorted(contents)], axis=1)
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
                f"({_pairs(pairs)}): they measure memory"
                + (f"; {contradicting} with another label" if contradicting else "")
            )


def _go_backwards(rows: SplitRows, keys: npt.NDArray[np.void]) -> Iterator[tuple[int, np.void]]:
    """Yield rows and their keys, the last first: what overwrites in a dict is the first row."""
    for row in rows[::-1].tolist():
        yield row, keys[row]


def _pairs(pairs: Sequence[tuple[int, int]]) -> str:
    shown = ", ".join(f"row {row + 1} is row {other + 1}" for row, other in pairs[:VALUES_SHOWN])
    return shown + (", …" if len(pairs) > VALUES_SHOWN else "")


def _list_values(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
