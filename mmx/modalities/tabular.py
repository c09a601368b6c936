"""Table cells: standardised numbers and one-hot categories, with a code for missing cells."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from mmx.errors import DataError, closest
from mmx.modalities.base import Column, Modality, RowNumbers, Spec, Stored, as_rows
from mmx.modalities.number_spelling import Reading, Spelling, find_doubtful_date
from mmx.modalities.tabular_kinds import (
    Cell,
    Kinds,
    KnownCells,
    advise_missing,
    group_alike,
    misspelled_cell,
    note_doubtful_numbers,
    parse_number,
    read_number,
    refuse_doubtful_points,
)
from mmx.quoting import type_override

WHOLE = re.compile(r"[+-]?[0-9]+\.0+")
MIDNIGHT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T]00:00(:00(\.0+)?)?")


@dataclass(frozen=True)
class TabularSpec(Spec):
    """The columns and their statistics over the training rows.

    An encoder's input holds, in this order, two numbers for each numeric column (the
    standardised value, then 1.0 where it is missing) and a one-hot code for each categorical
    column (its words, then a code for unknown or missing).

    Attributes:
        numeric: Names of the columns of numbers.
        means, stds: Mean and standard deviation of each numeric column; std is 1 for a
            constant column.
        categorical: Names of the columns of words.
        categories: The known words of each categorical column, sorted.
        spellings: Name, reading and unit of each numeric column that is not written in plain
            numbers; see :class:`~mmx.modalities.number_spelling.Spelling`.
    """

    numeric: tuple[str, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]
    categorical: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    spellings: tuple[tuple[str, str, str], ...] = ()

    def find_spelling(self, name: str) -> Spelling | None:
        """Return how a numeric column is written; None for plain numbers."""
        for column, reading, unit in self.spellings:
            if column == name:
                return Spelling(cast("Reading", reading), unit)
        return None

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes of each categorical column: its words, and one for all other cells."""
        return tuple(len(words) + 1 for words in self.categories)

    @property
    def width(self) -> int:
        """D, the width of the input."""
        return 2 * len(self.numeric) + sum(self.cardinalities)


class TabularColumn(Column):
    """Cells of several named columns.

    Args:
        columns: Name to a cell for each row: a number, a word, or None (NaN, "") where missing.
            A row has the modality if any of its cells is not missing.
    """

    cells = "values"

    def __init__(self, columns: Mapping[str, Sequence[Cell]]) -> None:
        self.columns: dict[str, list[Cell]] = {
            name: [None if _is_missing(cell) else cell for cell in cells]
            for name, cells in columns.items()
        }
        rows = zip(*self.columns.values(), strict=True)
        self.present = np.array(
            [any(cell is not None for cell in row) for row in rows], dtype=np.bool_
        )

    def pick(self, name: str, rows: RowNumbers) -> KnownCells:
        """Return the cells of some rows that are not missing."""
        cells = self.columns[name]
        there = [int(row) for row in rows if cells[row] is not None]
        known = [cell for row in there if (cell := cells[row]) is not None]
        return KnownCells(name, there, known, self.name_row, self.decimal)

    def digest(self, row: int) -> bytes:
        """Return the names and cells of a row as text."""
        return repr([(name, cells[row]) for name, cells in self.columns.items()]).encode()


class Tabular(Modality[TabularColumn, TabularSpec]):
    """Numbers and categories of a table.

    Use it for the cells of a table that are neither files nor free text.

    A column is numeric if every cell of the training rows that is not missing is a number;
    otherwise it is categorical. Means, standard deviations and categories are computed on the
    training rows.

    Numbers may be written with a decimal comma, separated thousands, a currency or a percent
    sign, and dates are days since 1970, where all cells of the training rows agree; this is
    noted. Identifiers are left out and noted: words of which nearly all differ, and whole
    numbers that all differ in a column with such a name.

    Args:
        categorical: Columns to read as categories whatever they hold, such as codes or dates.
        keep: Columns to read although they look like identifiers.
        max_categories: Number of words that a column keeps, the most frequent ones; all others
            count as unknown.
    """

    name = "tabular"
    column_type = TabularColumn

    def __init__(
        self,
        *,
        categorical: tuple[str, ...] = (),
        keep: tuple[str, ...] = (),
        max_categories: Annotated[int, Field(ge=1, le=65_536)] = 100,
    ) -> None:
        self.categorical = categorical
        self.keep = keep
        self.max_categories = max_categories

    def fit(self, column: TabularColumn, rows: RowNumbers) -> TabularSpec:
        """Return the kinds of the columns and their statistics.

        Raises:
            DataError: A name in ``categorical`` or ``keep`` is not a column, a column holds
                numbers that have two readings or that 64 bits cannot hold, or all columns are
                identifiers.
        """
        rows = as_rows(rows)
        kinds = self._sort_columns(column, rows)
        if not kinds.numeric and not kinds.categorical:
            raise DataError(
                f"all columns look like identifiers, of which nothing can be learned: "
                f"{', '.join(column.columns)}",
                tip=type_override("target.tabular.keep", list(column.columns)),
            )
        statistics = [
            _compute_moments(column.columns[name], rows, kinds.spellings.get(name))
            for name in kinds.numeric
        ]
        return TabularSpec(
            numeric=kinds.numeric,
            means=tuple(mean for mean, _ in statistics),
            stds=tuple(std for _, std in statistics),
            categorical=kinds.categorical,
            categories=tuple(
                self._find_categories(column.columns[name], rows) for name in kinds.categorical
            ),
            spellings=kinds.list_spellings(),
        )

    def encode(self, column: TabularColumn, rows: RowNumbers, spec: TabularSpec) -> Stored:
        """Return ``(B, D)`` float32, in the layout of :class:`TabularSpec`.

        Raises:
            DataError: A cell is a word where the training rows hold numbers, or a column is
                absent.
        """
        rows = as_rows(rows)
        cells = read_cells(column, rows, spec)
        values = np.zeros((len(rows), spec.width), dtype=np.float32)
        start, count = 0, len(spec.numeric)
        for numbers, mean, std in zip(cells.T[:count], spec.means, spec.stds, strict=True):
            missing = np.isnan(numbers)
            values[:, start] = np.where(missing, 0.0, (numbers - mean) / std)  # 0 is the mean
            values[:, start + 1] = missing
            start += 2
        for codes, codes_of_column in zip(cells.T[count:], spec.cardinalities, strict=True):
            values[np.arange(len(rows)), start + codes.astype(np.int64)] = 1
            start += codes_of_column
        values[~column.present[rows]] = 0
        return Stored(torch.from_numpy(values))

    def example(self) -> TabularSpec:
        """Return a spec of one numeric column."""
        return TabularSpec(("number",), (0.0,), (1.0,), (), ())

    def bytes_per_row(self, spec: TabularSpec) -> int:
        """Return 4 · D."""
        return 4 * spec.width

    def inherits(self, column: TabularColumn, spec: TabularSpec) -> bool:
        """Return whether the columns have the names and kinds of the source's."""
        if {*self.categorical, *self.keep} - set(column.columns):
            return False
        kinds = self._sort_columns(column, np.arange(len(column)))
        return (set(kinds.numeric), set(kinds.categorical), set(kinds.list_spellings())) == (
            set(spec.numeric),
            set(spec.categorical),
            set(spec.spellings),
        )

    def remarks(
        self, column: TabularColumn, rows: RowNumbers, spec: TabularSpec
    ) -> tuple[str, ...]:
        """Return notes on columns read otherwise than as plain numbers or words.

        These are columns of words because of a few cells, of numbers or dates that are written in
        a special way, and identifiers, which are left out.
        """
        found = list(self._note_spellings(column, as_rows(rows), spec))
        for name in (name for name in spec.categorical if name not in self.categorical):
            cells = [
                cell for row in as_rows(rows) if (cell := column.columns[name][row]) is not None
            ]
            words = [cell for cell in cells if parse_number(cell) is None]
            if (date := find_doubtful_date(set(map(str, cells)))) is not None:
                found.append(
                    f"tabular: column '{name}' is read as words, since its dates may be "
                    f"day/month/year or month/day/year, such as {date!r}, and none of the training "
                    "rows decides; 2024-03-31 has one reading"
                )
            elif 0 < 2 * len(words) < len(cells):
                found.append(
                    f"tabular: column '{name}' is read as words, since {len(words)} of "
                    f"{len(cells)} cells of the training rows are not numbers, such as "
                    f"{words[0]!r}; {advise_missing(map(str, words))}"
                )
        for name, known in zip(spec.categorical, spec.categories, strict=True):
            found += [
                f"tabular: {', '.join(map(repr, group))} in column '{name}' differ only in spaces, "
                "case or spelling, and count as different words"
                for group in group_alike(known)
            ]
        return tuple(found)

    def count_unknown(
        self, column: TabularColumn, rows: RowNumbers, spec: TabularSpec
    ) -> tuple[int, int] | None:
        """Return how many cells of categories hold an unknown word, of how many that hold one."""
        if not spec.categorical:
            return None
        stored, there = self.encode(column, rows, spec).values, 0
        known, start = 0, 2 * len(spec.numeric)
        for name, size in zip(spec.categorical, spec.cardinalities, strict=True):
            there += sum(column.columns[name][row] is not None for row in as_rows(rows))
            known += int(stored[:, start : start + size - 1].sum())
            start += size
        return there - known, there

    def read_numbers(
        self, column: TabularColumn, rows: RowNumbers, spec: TabularSpec
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Return the numbers of each numeric column; see :class:`Modality`."""
        return {
            name: np.array(
                [_read_number(column, name, int(row), spec.find_spelling(name)) for row in rows]
            )
            for name in spec.numeric
        }

    def prepare(self, stored: Stored, spec: TabularSpec) -> Tensor:
        """Return ``(B, D)`` float32."""
        return stored.values

    def _note_spellings(
        self, column: TabularColumn, rows: npt.NDArray[np.int64], spec: TabularSpec
    ) -> Iterator[str]:
        """Yield notes on special spellings, and on columns that are left out."""
        for name, _, _ in spec.spellings:
            example = column.pick(name, rows).first_text
            if (spelling := spec.find_spelling(name)) is not None:
                yield (
                    f"tabular: column '{name}' holds {spelling.describe(example)}; "
                    f"{type_override('target.tabular.categorical', [name])} reads words"
                )
        for name in spec.numeric:
            if spec.find_spelling(name) is None:
                yield from note_doubtful_numbers(column.pick(name, rows))
        for name in column.columns:
            if name not in (*spec.numeric, *spec.categorical):
                yield (
                    f"tabular: column '{name}' is left out, since (nearly) all of its cells "
                    f"differ; {type_override('target.tabular.keep', [name])} reads it"
                )

    def _sort_columns(self, column: TabularColumn, rows: RowNumbers) -> Kinds:
        """Return which columns are numeric and which are categorical, and how numbers are written.

        Raises:
            DataError: An option names no column, or numbers have two readings or are unreadable.
        """
        for option in ("categorical", "keep"):
            for name in getattr(self, option):
                if name not in column.columns:
                    near = closest(name, column.columns)
                    raise DataError(
                        f"{option} names '{name}', which is not a column of the table; "
                        f"accepted: {', '.join(column.columns)}",
                        tip=f"did you mean '{near}'?" if near else None,
                    )
        numeric: list[str] = []
        categorical: list[str] = []
        spellings: dict[str, Spelling] = {}
        plain: list[KnownCells] = []
        for name in column.columns:
            given = column.pick(name, rows)
            if name in self.categorical:
                categorical.append(name)
                continue
            if name not in self.keep and given.is_identifier:
                continue
            given.refuse_unreadable()
            if (spelling := given.find_spelling()) is not None:
                spellings[name] = spelling
                numeric.append(name)
            elif given.is_plain:
                plain.append(given)
                numeric.append(name)
            else:
                categorical.append(name)
        if column.decimal is None:
            refuse_doubtful_points(plain, spellings)
        return Kinds(tuple(numeric), tuple(categorical), spellings)

    def _find_categories(self, cells: Sequence[Cell], rows: RowNumbers) -> tuple[str, ...]:
        """Return the most frequent words, sorted."""
        counts = Counter(_format_cell(cells[row]) for row in rows if cells[row] is not None)
        kept = sorted(counts, key=lambda word: (-counts[word], word))[: self.max_categories]
        return tuple(sorted(kept))


def read_cells(
    column: TabularColumn, rows: RowNumbers, spec: TabularSpec
) -> npt.NDArray[np.float64]:
    """Return ``(B, columns)``: numbers, NaN where one is missing, then codes of words.

    The columns are in the order of the spec. A code is the place of the word among the known
    ones, or their number where it is unknown or missing.

    Raises:
        DataError: A cell is a word where the training rows hold numbers, or a column is absent.
    """
    for name in (*spec.numeric, *spec.categorical):
        if name not in column.columns:
            raise DataError(
                f"the training rows have a column '{name}', these have {', '.join(column.columns)}"
            )
    found: list[list[float]] = []
    for name in spec.numeric:
        spelling = spec.find_spelling(name)
        found.append([_read_number(column, name, int(row), spelling) for row in rows])
    for name, words in zip(spec.categorical, spec.categories, strict=True):
        code = {word: i for i, word in enumerate(words)}
        alike = number_spellings(words)
        cells = [_format_cell(column.columns[name][row]) for row in rows]
        found.append(
            [code.get(cell, alike.get(normalize_spelling(cell), len(words))) for cell in cells]
        )
    return np.array(found, dtype=np.float64).T


def number_spellings(words: Sequence[str]) -> dict[str, int]:
    """Return the code of each normalised spelling of the known words of a column.

    Other files may spell a known word differently. Of two known words with one normalised
    spelling, the first counts.
    """
    alike = {normalize_spelling(word): i for i, word in reversed(list(enumerate(words)))}
    if alike.keys() <= {"true", "false"}:  # booleans as numbers
        bits = {"1": "true", "0": "false"}
        alike |= {bit: alike[word] for bit, word in bits.items() if word in alike}
    return alike


def normalize_spelling(word: str) -> str:
    """Return a common spelling of values that CSV, JSON and Parquet write differently.

    ``True`` becomes ``true``, ``1.0`` becomes ``1``, and midnight becomes its date.
    """
    if word.lower() in ("true", "false"):
        return word.lower()
    if WHOLE.fullmatch(word):
        return word.partition(".")[0]
    if MIDNIGHT.fullmatch(word):
        return word[:10]
    return word


def _is_missing(cell: Cell) -> bool:
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


def _format_cell(cell: Cell) -> str:
    return "" if cell is None else str(cell)


def _read_number(column: TabularColumn, name: str, row: int, spelling: Spelling | None) -> float:
    """Return a cell of a numeric column as a number, NaN if it is missing."""
    cell = column.columns[name][row]
    if cell is None:
        return math.nan
    number = read_number(cell, spelling)
    if number is None:
        raise misspelled_cell(f"{column.name_row(row)}: column '{name}'", name, cell, spelling)
    return number


def _compute_moments(
    cells: Sequence[Cell], rows: RowNumbers, spelling: Spelling | None
) -> tuple[float, float]:
    known = (cell for row in rows if (cell := cells[row]) is not None)
    if spelling is None:
        numbers = np.array([float(cell) for cell in known])
    else:
        parsed = (read_number(cell, spelling) for cell in known)
        numbers = np.array([number for number in parsed if number is not None])
    # A constant column is only centred: its deviation is 0, or the rounding of its mean.
    if np.ptp(numbers) == 0:
        return float(numbers[0]), 1.0
    return float(numbers.mean()), float(numbers.std())
