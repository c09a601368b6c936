"""The facts about a task's data: rows, missing cells, sizes, columns and notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mmx.evaluation.data_facts.facts import (
    ColumnUse,
    DataFacts,
    ModalityFacts,
    Quantity,
    SplitCounts,
)
from mmx.evaluation.data_facts.measure import measure_column
from mmx.modalities import Column, Modality, Spec
from mmx.modalities.tabular import TabularColumn, TabularSpec
from mmx.modalities.tabular_kinds import read_number
from mmx.tasks import TaskData

InputReaders = Mapping[str, Modality[Any, Any]]
MODALITY_OPTION = "target.columns"
FREQUENT = 3
"""Words that are shown of a column of categories."""
REASONS_SHOWN = 5
"""Unreadable files that are named."""


def gather_facts(data: TaskData, readers: InputReaders) -> DataFacts:
    """Return what there is to say about a task's data before anything is trained on it.

    Args:
        data: The opened data.
        readers: Modality in use to what reads it; a modality without a reader here, such as text
            that published weights read, has no notes on how it is read.

    Raises:
        DataError: The training rows cannot be read.
    """
    specs = {
        name: reader.fit(data.columns[name], data.splits["train"])
        for name, reader in readers.items()
        if data.columns[name].present[data.splits["train"]].any()
    }
    used = np.concatenate(list(data.splits.values()))
    modalities = {
        name: _gather_modality(name, column, readers.get(name), data)
        for name, column in data.columns.items()
    }
    return DataFacts(
        name=data.name,
        kind=data.target.kind,
        fingerprint=data.fingerprint,
        splits={name: len(rows) for name, rows in data.splits.items()},
        unused=len(data.values) - len(used),
        classes=_count_classes(data),
        numbers=_spread_numbers(data),
        modalities=modalities,
        columns=tuple(_list_columns(data, specs)),
        notes=(*data.notes, *_list_notes(data, readers, specs, modalities)),
    )


def _count_classes(data: TaskData) -> dict[str, SplitCounts]:
    """Return class or label to the number of its rows in each split."""
    values = data.values.numpy()
    found: dict[str, SplitCounts] = {}
    for index, name in enumerate(data.target.classes):
        has = values == index if data.target.kind == "classes" else values[:, index] > 0
        found[name] = {split: int(has[rows].sum()) for split, rows in data.splits.items()}
    return found


def _spread_numbers(data: TaskData) -> dict[str, Quantity]:
    """Return split to the spread of the numbers to predict; empty where there are classes."""
    if data.target.kind != "regression":
        return {}
    values = data.values.numpy()
    return {
        split: Quantity.of("label", "", values[rows])
        for split, rows in data.splits.items()
        if len(rows)
    }


def _gather_modality(
    name: str, column: Column, reader: Modality[Any, Any] | None, data: TaskData
) -> ModalityFacts:
    """Return what one modality holds, in the rows of all splits."""
    rows = np.concatenate(list(data.splits.values()))
    measures = measure_column(column, rows.tolist(), reader)
    return ModalityFacts(
        # Where a kind has several modalities, their names begin with it.
        kind=reader.name if reader is not None else name.partition(".")[0],
        missing=_count_by_split(~column.present, data),
        missing_cells={
            name: _count_by_split(np.array([cell is None for cell in cells]), data)
            for name, cells in column.columns.items()
        },
        quantities=tuple(measures.quantities),
        tallies=tuple(measures.tallies),
        unreadable=tuple(measures.unreadable),
    )


def _count_by_split(which: npt.NDArray[np.bool_], data: TaskData) -> SplitCounts:
    return {split: int(which[rows].sum()) for split, rows in data.splits.items()}


def _list_columns(data: TaskData, specs: Mapping[str, Spec]) -> Iterator[ColumnUse]:
    """Yield what each column of a table is read as, and why some are left out."""
    for name, use in data.column_uses.items():
        if not use:
            yield ColumnUse(name, "", f"not named in {MODALITY_OPTION}, label, split or group")
            continue
        held = [
            text
            for modality in use.split(" and ")
            if (text := _describe_cells(data, specs, modality, name)) is not None
        ]
        left_out = bool(held) and held[0].startswith("left out")
        yield ColumnUse(name, "" if left_out else use, "; ".join(held))
    named = set(data.column_uses)
    for modality, column in data.columns.items():  # cells of other tasks, and items of lists
        for name in column.columns:
            if name not in named:
                text = _describe_cells(data, specs, modality, name) or ""
                left_out = text.startswith("left out")
                yield ColumnUse(name, "" if left_out else modality, text)


def _describe_cells(
    data: TaskData, specs: Mapping[str, Spec], modality: str, name: str
) -> str | None:
    """Return what the cells of a tabular column are; None for a column of another kind."""
    column, spec = data.columns.get(modality), specs.get(modality)
    if not isinstance(column, TabularColumn) or not isinstance(spec, TabularSpec):
        return None
    if name not in column.columns:
        return None
    cells = column.columns[name]
    known = [cell for row in data.splits["train"].tolist() if (cell := cells[row]) is not None]
    if name in spec.categorical:
        counts: dict[str, int] = {}
        for cell in known:
            counts[str(cell)] = counts.get(str(cell), 0) + 1
        frequent = sorted(counts, key=lambda word: (-counts[word], word))[:FREQUENT]
        more = ", …" if len(counts) > len(frequent) else ""
        return f"{len(counts)} categories: {', '.join(frequent)}{more}"
    if name not in spec.numeric:
        return f"left out: an identifier, {len(set(known))} of {len(known)} cells differ"
    spelling = spec.find_spelling(name)
    numbers = [number for cell in known if (number := read_number(cell, spelling)) is not None]
    low, high = min(numbers), max(numbers)
    return f"numbers, {low:.6g} to {high:.6g}, median {float(np.median(numbers)):.6g}"


def _list_notes(
    data: TaskData,
    readers: InputReaders,
    specs: Mapping[str, Spec],
    modalities: Mapping[str, ModalityFacts],
) -> Iterator[str]:
    """Yield the notes on how each modality is read, and on files that cannot be."""
    for name, spec in specs.items():
        yield from readers[name].remarks(data.columns[name], data.splits["train"], spec)
    for name, facts in modalities.items():
        if facts.unreadable:
            yield f"{name}: {_format_unreadable(facts.unreadable)}"


def _format_unreadable(reasons: Sequence[str]) -> str:
    shown = "; ".join(reasons[:REASONS_SHOWN])
    more = "; …" if len(reasons) > REASONS_SHOWN else ""
    files = "1 file cannot" if len(reasons) == 1 else f"{len(reasons)} files cannot"
    return f"{files} be read, and a run would refuse them ({shown}{more})"
