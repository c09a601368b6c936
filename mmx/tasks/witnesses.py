"""Rows without which a part of a table would be read otherwise than the whole of it.

How a column is read may depend on all of its cells: ``1.0`` is ``1`` only where all are numbers,
and a list in one row makes the column one of lists. For each such question the first row that
decides it is read along with every part, so that a part is read as the whole is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mmx.modalities.base import Cells
from mmx.tasks.array_cells import is_list
from mmx.tasks.cells import as_text
from mmx.tasks.json_rows import has_path, list_paths
from mmx.tasks.spelling import BOOLEAN, MIDNIGHT_SUFFIX, NUMBER, TIME, find_bit
from mmx.tasks.table_rows import ArrowSource, JsonSource, RowSource
from mmx.tasks.vectors import as_list

Question = Callable[[Any], bool]
"""Returns whether a cell decides something about its column."""


def find_witnesses(
    source: RowSource[Any], uses: Mapping[str, Iterable[Cells]], missing: frozenset[str]
) -> dict[int, Any]:
    """Return the number of each deciding row, from 1, and the row.

    Args:
        source: The rows of a table.
        uses: Column to how its cells are read.
        missing: Texts that count as missing.
    """
    open_questions = [
        (name, ask)
        for name, kinds in uses.items()
        for ask in _list_questions(source, kinds, missing)
    ]
    of_rows = [ask for name in uses for ask in _list_row_questions(source, name)]
    found: dict[int, Any] = {}
    start = 0
    if not open_questions and not of_rows:
        return found
    for rows in source.iterate():
        table = source.open(rows, range(start + 1, start + len(rows) + 1))
        cells: dict[str, list[Any]] = {}
        first = [_find_first(ask, _read_cells(table, cells, name)) for name, ask in open_questions]
        of_row = [_find_first(ask, (each[0] for each in rows)) for ask in of_rows]
        for row in {each for each in [*first, *of_row] if each is not None}:
            found[start + row + 1] = source.cut(rows, row, row + 1)
        open_questions = [
            each for each, row in zip(open_questions, first, strict=True) if row is None
        ]
        of_rows = [ask for ask, row in zip(of_rows, of_row, strict=True) if row is None]
        start += len(rows)
        if not open_questions and not of_rows:
            break
    return dict(sorted(found.items()))


def _read_cells(table: Any, known: dict[str, list[Any]], name: str) -> list[Any]:
    """Return the cells of a column, each column read once; none where the table lacks it."""
    if name not in known:
        column = table.find(name)
        known[name] = [] if column is None else table.read(column)
    return known[name]


def _find_first(ask: Question, values: Iterable[Any]) -> int | None:
    """Return the place of the first value for which the answer is yes."""
    return next((row for row, value in enumerate(values) if ask(value)), None)


def _list_row_questions(source: RowSource[Any], name: str) -> Iterator[Question]:
    """Yield whether an object has what a dotted name may lead to."""
    if isinstance(source, JsonSource) and name not in source.names:
        for path in list_paths(name):
            yield lambda row, path=path: has_path(row, path)  # type: ignore[misc]


def _list_questions(
    source: RowSource[Any], kinds: Iterable[Cells], missing: frozenset[str]
) -> Iterator[Question]:
    """Yield the questions on the cells of one column."""

    def of_text(fails: Callable[[str], bool]) -> Question:
        def ask(cell: Any) -> bool:
            try:
                text = as_text(cell, missing)
            except TypeError:  # what reads the column says so
                return True
            return text is not None and fails(text)

        return ask

    kinds = set(kinds)
    if "values" in kinds:
        yield of_text(lambda text: BOOLEAN.fullmatch(text) is None)
        yield of_text(lambda text: NUMBER.fullmatch(text) is None)
        yield of_text(lambda text: not find_bit(text))
        yield of_text(lambda text: TIME.fullmatch(text) is None)
        yield of_text(lambda text: MIDNIGHT_SUFFIX.fullmatch(text[10:]) is None)
        yield lambda cell: as_list(cell) is not None
    if kinds & {"numbers", "array"}:
        yield is_list
    if isinstance(source, ArrowSource) and source.has_times:
        yield _has_hour


def _has_hour(cell: Any) -> bool:
    """Return whether a cell is a time other than midnight, so that no time is only a date."""
    return (
        isinstance(cell, str)
        and TIME.fullmatch(cell) is not None
        and MIDNIGHT_SUFFIX.fullmatch(cell[10:]) is None
    )
