"""Rows without which a part of a table would be read otherwise than the whole of it.

How a column is read may depend on all of its cells: ``1.0`` is ``1`` only where all are numbers,
and a list in one row makes the column one of lists. For each such question the first row that
decides it is read along with every part, so that a part is read as the whole is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from mmx.modalities.base import Cells
from mmx.tasks.array_cells import is_list
from mmx.tasks.cells import as_text
from mmx.tasks.json_rows import has_path, list_paths
from mmx.tasks.spelling import BOOLEAN, MIDNIGHT_SUFFIX, NUMBER, TIME, find_bit
from mmx.tasks.table_rows import ArrowSource, JsonSource, RowSource
from mmx.tasks.vectors import as_list

Asked = TypeVar("Asked")
Question = Callable[["_Column"], int | None]
"""Returns the place of the first cell that decides something about its column."""


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
        (name, ask) for name, kinds in uses.items() for ask in _list_questions(source, kinds)
    ]
    of_rows = [ask for name in uses for ask in _list_row_questions(source, name)]
    found: dict[int, Any] = {}
    start = 0
    if not open_questions and not of_rows:
        return found
    for rows in source.iterate():
        table = source.open(rows, range(start + 1, start + len(rows) + 1))
        cells: dict[str, _Column] = {}
        first = [ask(_read_cells(table, cells, name, missing)) for name, ask in open_questions]
        of_row = [_find_first(ask, (each[0] for each in rows)) for ask in of_rows]
        for row in _list_places([*first, *of_row]):
            found[start + row + 1] = source.cut(rows, row, row + 1)
        open_questions = _drop_answered(open_questions, first)
        of_rows = _drop_answered(of_rows, of_row)
        start += len(rows)
        if not open_questions and not of_rows:
            break
    return dict(sorted(found.items()))


def _list_places(answers: Sequence[int | None]) -> set[int]:
    """Return the rows that answer a question."""
    return {each for each in answers if each is not None}


def _drop_answered(questions: Sequence[Asked], places: Sequence[int | None]) -> list[Asked]:
    """Return the questions that no row has answered yet: later rows are asked these alone."""
    return [each for each, place in zip(questions, places, strict=True) if place is None]


@dataclass(frozen=True)
class _Column:
    """Cells of a column, and as text; None where they are missing or are no text."""

    cells: list[Any]
    missing: frozenset[str]

    @cached_property
    def texts(self) -> tuple[list[str | None], int | None]:
        """Each cell as text, and the place of the first that has none, which comes last."""
        found = []
        for place, cell in enumerate(self.cells):
            try:
                found.append(as_text(cell, self.missing))
            except TypeError:  # what reads the column says so
                return found, place
        return found, None


def _read_cells(
    table: Any, known: dict[str, _Column], name: str, missing: frozenset[str]
) -> _Column:
    """Return the cells of a column, each column read once; none where the table lacks it."""
    if name not in known:
        column = table.find(name)
        known[name] = _Column([] if column is None else table.read(column), missing)
    return known[name]


def _find_first(ask: Callable[[Any], bool], values: Iterable[Any]) -> int | None:
    """Return the place of the first value for which the answer is yes."""
    return next((row for row, value in enumerate(values) if ask(value)), None)


def _list_row_questions(source: RowSource[Any], name: str) -> Iterator[Callable[[Any], bool]]:
    """Yield whether an object has what a dotted name may lead to."""
    if isinstance(source, JsonSource) and name not in source.names:
        for path in list_paths(name):
            yield lambda row, path=path: has_path(row, path)  # type: ignore[misc]


def _list_questions(source: RowSource[Any], kinds: Iterable[Cells]) -> Iterator[Question]:
    """Yield the questions on the cells of one column."""

    def of_text(fails: Callable[[str], Any]) -> Question:
        def ask(column: _Column) -> int | None:
            texts, end = column.texts
            places = (row for row, text in enumerate(texts) if text is not None and fails(text))
            return next(places, end)

        return ask

    def of_cell(decides: Callable[[Any], bool]) -> Question:
        return lambda column: _find_first(decides, column.cells)

    kinds = set(kinds)
    if "values" in kinds:
        for pattern in (BOOLEAN, NUMBER):
            yield of_text(lambda text, fits=pattern.fullmatch: fits(text) is None)  # type: ignore[misc]
        yield of_text(lambda text: not find_bit(text))
        yield of_text(lambda text: TIME.fullmatch(text) is None)
        yield of_text(lambda text: MIDNIGHT_SUFFIX.fullmatch(text[10:]) is None)
        yield of_cell(lambda cell: as_list(cell) is not None)
    if kinds & {"numbers", "array"}:
        yield of_cell(is_list)
    if isinstance(source, ArrowSource) and source.has_times:
        yield of_cell(_has_hour)


def _has_hour(cell: Any) -> bool:
    """Return whether a cell is a time other than midnight, so that no time is only a date."""
    return (
        isinstance(cell, str)
        and TIME.fullmatch(cell) is not None
        and MIDNIGHT_SUFFIX.fullmatch(cell[10:]) is None
    )
