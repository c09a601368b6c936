"""What the cells of a table's columns are: numbers, dates, words or identifiers."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import numpy as np
import numpy.typing as npt

from mmx.errors import DataError
from mmx.modalities.number_spelling import (
    AmbiguousNumberError,
    MixedUnitsError,
    Spelling,
    could_be_thousands,
    find_compact_date,
    find_spelling,
    find_written,
    read_float,
)
from mmx.quoting import type_override

Cell = float | str | None

COMMA = re.compile(
    r"[+-]?([0-9]+|[0-9]{1,3}([. ][0-9]{3})+),[0-9]+|[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?"
)
CODE = re.compile(r"0[0-9]+")
"""Whole numbers with a zero in front."""
FEWEST_IDENTIFIERS = 50
"""Number of training cells below which a column is not taken for one of identifiers."""
LARGEST_NUMBER = 1e150
"""Largest absolute value of a number, so that sums of squares stay finite; its inverse is the
smallest range, so that they do not vanish."""
LOST_SHARE = 1e-7
"""Rounding error that is accepted, as a share of the range of a column."""
NEARLY_ALL = 0.95
"""Share of its cells that differ in a column of identifiers."""
USUAL_MISSING = ("", "NA", "NaN", "nan", "null")
"""Cells that count as missing in every table."""
MOST_TYPED = 8
"""Most words that are typed in full in what to type."""
INSPECTED_CELLS = 20
"""Cells that are inspected to tell words from numbers and dates."""
IDENTIFIER = re.compile(r"(^|[_\W])(id|uuid|guid|idx|index|key)$|^unnamed: 0$", re.I)
"""Names of columns of identifiers."""


@dataclass(frozen=True)
class Kinds:
    """Which columns are numbers, which are words, and how the numbers are written."""

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    spellings: Mapping[str, Spelling]

    def list_spellings(self) -> tuple[tuple[str, str, str], ...]:
        """Return what a spec holds of the spellings."""
        return tuple((name, one.reading, one.unit) for name, one in self.spellings.items())


@dataclass(frozen=True)
class KnownCells:
    """The cells of a column that are not missing.

    Attributes:
        name: Name of the column.
        rows: The row of each cell.
        cells: The cells.
        name_row: Returns what a row is called in messages.
        decimal: The decimal mark, if it is known.
    """

    name: str
    rows: Sequence[int]
    cells: Sequence[float | str]
    name_row: Callable[[int], str]
    decimal: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether all cells are numbers as Python writes them."""
        return bool(self.cells) and all(parse_number(cell) is not None for cell in self.cells)

    @property
    def words(self) -> str:
        """What to type to read words."""
        return type_override("target.tabular.categorical", [self.name]) + " reads words"

    def find_spelling(self) -> Spelling | None:
        """Return how the numbers are written; None where they are plain, or words.

        Raises:
            DataError: They have two readings, or several units, or some of them cannot be read.
        """
        if not self.cells or (self.is_plain and self.decimal != ","):
            return None
        there = self._find_texts()
        if not there:  # numbers of the file have one reading
            return None
        # Most columns of words show it in their first cell.
        if not any(character.isdigit() for character in str(self.cells[0])):
            self._refuse_commas(there)
            return None
        try:
            spelling = self._find_spelling_of(there)
        except AmbiguousNumberError as error:
            one, other = error.values
            raise DataError(
                f"{self._place(there, error.example)} holds {error.example!r}, which is "
                f"{one:.12g} or {other:.12g}, and no cell of the column says which",
                tip=f'{_type_decimal(",")}, or "."; {self.words}',
            ) from error
        except MixedUnitsError as error:
            raise DataError(
                f"column '{self.name}' holds numbers of several units, such as {error}",
                tip=f"give each unit a column of its own; {self.words}",
            ) from error
        if spelling is None and not self.is_plain:
            self._refuse_commas(there)
        plain = spelling == Spelling(".") and self.is_plain
        return None if plain else spelling

    def _find_texts(self) -> dict[str, int]:
        """Return the different texts of the file, without what is a number there, and their row."""
        texts: dict[str, int] = {}
        for row, cell in zip(self.rows, self.cells, strict=True):
            if (written := find_written(cell)) is not None:
                texts.setdefault(written, row)
        return texts

    def _find_spelling_of(self, texts: Mapping[str, int]) -> Spelling | None:
        """Return how texts are written, if what is a number in the file can stand among them.

        Raises:
            AmbiguousNumberError, MixedUnitsError: See :func:`find_spelling`.
        """
        spelling = find_spelling(texts, self.decimal)
        number = next((cell for cell in self.cells if find_written(cell) is None), None)
        if spelling is None or number is None:
            return spelling
        if spelling.reading == "date":
            return None
        if spelling.unit:
            raise MixedUnitsError(f"{next(iter(texts))!r}, {str(number)!r}")
        return spelling

    @property
    def first_text(self) -> str:
        """The first cell that is a text in the file, as it stands there; "" without any."""
        return next(iter(self._find_texts()), "")

    @property
    def doubtful_point(self) -> str | None:
        """A text of plain numbers whose point may separate thousands, if all texts allow it."""
        return could_be_thousands(self._find_texts())

    def refuse_unreadable(self) -> None:
        """Refuse numbers that are infinite, or that 64 bits cannot tell apart or square.

        Raises:
            DataError: There is such a cell; the message names its row.
        """
        numbers: list[float] = []
        for cell in self.cells:
            number = read_float(cell)
            if number is None or math.isnan(number):
                return
            numbers.append(number)
        values = np.array(numbers)
        finite = np.isfinite(values)
        if not finite.any():
            return
        largest = float(np.abs(values[finite]).max())
        if not finite.all():
            place, why = int(finite.argmin()), "which is not a finite number"
        elif largest > LARGEST_NUMBER or 0 < np.ptp(values) < 1 / LARGEST_NUMBER:
            place, why = int(np.abs(values).argmax()), "and 64 bits cannot hold squares of such"
        elif (found := self._find_rounded(values, largest)) is not None:
            place = found
            why = f"which 64 bits hold as {float(values[place])!r}, and another number too"
        else:
            return
        raise DataError(
            f"{self.name_row(self.rows[place])}: column '{self.name}' holds {self.cells[place]!r}, "
            f"{why}",
            tip=f"give it in another unit, or list it in target.missing; {self.words}",
        )

    def _find_rounded(self, values: npt.NDArray[np.float64], largest: float) -> int | None:
        """Return a cell that rounding makes equal to a different one of a narrow range, or None."""
        # A distance that is small for the range is no loss: standardised values are 32 bits wide.
        if np.spacing(largest) <= LOST_SHARE * float(np.ptp(values)):
            return None
        known: dict[float, Decimal] = {}
        for place, (value, cell) in enumerate(zip(values.tolist(), self.cells, strict=True)):
            exact = Decimal(str(cell).strip())
            if known.setdefault(value, exact) != exact:
                return place
        return None

    def _refuse_commas(self, there: Mapping[str, int]) -> None:
        """Refuse a column if most of its cells, but not all, are numbers with a comma."""
        commas = [cell for cell in there if COMMA.fullmatch(cell.strip())]
        if 2 * len(commas) <= len(there):
            return
        others = [cell for cell in there if Spelling(",").parse(cell) is None]
        words = [cell for cell in others if not any(map(str.isdigit, cell))]
        other = next(iter([*words, *others]), commas[-1])
        tip = "correct the cell, or list it in target.missing"
        if words:
            tip = advise_missing(words)
        raise DataError(
            f"{self._place(there, other)} holds {other!r}, but {commas[0]!r} in "
            f"{self.name_row(there[commas[0]])}: numbers are read where all cells are written "
            "alike",
            tip=f"{tip}; {self.words}",
        )

    def _place(self, there: Mapping[str, int], cell: str) -> str:
        return f"{self.name_row(there[cell])}: column '{self.name}'"

    @property
    def is_identifier(self) -> bool:
        """Whether the cells tell rows apart, and nothing else.

        Words do where nearly all of them differ; whole numbers where all of them differ and the
        column is called like one of identifiers.
        """
        if len(self.cells) < FEWEST_IDENTIFIERS:
            return False
        different = len(set(self.cells))
        if different < NEARLY_ALL * len(self.cells):
            return False
        if all(isinstance(cell, int) or str(cell).strip().isdecimal() for cell in self.cells):
            return different == len(self.cells) and IDENTIFIER.search(self.name) is not None
        # Numbers and dates may all differ.
        return not any(map(_is_number, self.cells[:INSPECTED_CELLS]))


def _is_number(cell: float | str) -> bool:
    """Return whether a cell is a number or a date in any spelling."""
    if parse_number(cell) is not None:
        return True
    if not any(character.isdigit() for character in str(cell)):
        return False
    return any(find_spelling([str(cell)], mark) is not None for mark in (".", ","))


def refuse_doubtful_points(plain: Iterable[KnownCells], spellings: Mapping[str, Spelling]) -> None:
    """Refuse points that may separate thousands, where another column has a decimal comma.

    Args:
        plain: Columns of plain numbers.
        spellings: Column to its spelling, of other columns of numbers.

    Raises:
        DataError: There is such a column.
    """
    other = next((name for name, one in spellings.items() if one.reading == ","), None)
    if other is None:
        return
    for given in plain:
        if example := given.doubtful_point:
            raise DataError(
                f"column '{given.name}' holds {example!r}: column '{other}' has a decimal comma, "
                "so that the point may separate thousands",
                tip=f'{_type_decimal(",")}, or "."',
            )


def advise_missing(words: Iterable[str]) -> str:
    """Return what to type so that words count as missing cells, besides the usual ones."""
    own = [word for word in dict.fromkeys(words) if word not in USUAL_MISSING]
    if len(own) > MOST_TYPED:
        return "target.missing=[…], with all of them, counts such cells as missing"
    typed = type_override("target.missing", [*USUAL_MISSING, *own])
    return f"{typed} counts such cells as missing"


def _type_decimal(mark: str) -> str:
    return type_override("target.csv.decimal", mark)


def note_doubtful_numbers(given: KnownCells) -> Iterator[str]:
    """Yield notes where plain numbers may be thousands, dates without marks, or codes as 007."""
    if given.decimal is None and (point := given.doubtful_point) is not None:
        yield (
            f"tabular: column '{given.name}' is read with a decimal point, though all of its "
            f"points may separate thousands, such as {point}; {_type_decimal(',')} reads thousands"
        )
    code = next((str(cell) for cell in given.cells if CODE.fullmatch(str(cell).strip())), None)
    if code is not None:
        yield (
            f"tabular: column '{given.name}' is read as numbers, though {code} may be a code, "
            f"whose zeros count; {given.words}"
        )
    if (date := find_compact_date({str(cell) for cell in given.cells})) is not None:
        yield (
            f"tabular: column '{given.name}' is read as numbers, though all of them may be dates, "
            f"such as {date}; written as {date[:4]}-{date[4:6]}-{date[6:]}, they are read in days"
        )


def group_alike(names: Iterable[str]) -> list[list[str]]:
    """Return the names that differ only in spaces, case, width or the spelling of a number.

    Signs that are invisible count as no difference too.
    """
    groups: dict[str | Decimal, list[str]] = {}
    for name in names:
        groups.setdefault(_simplify(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _simplify(name: str) -> str | Decimal:
    """Return a name without differences that are easy to overlook."""
    seen = "".join(each for each in name if unicodedata.category(each) != "Cf")  # zero-width
    text = " ".join(unicodedata.normalize("NFKC", seen).casefold().split())
    if "_" in text:  # which Decimal passes over
        return text
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    return number if number.is_finite() else text


def read_number(cell: float | str, spelling: Spelling | None) -> float | None:
    """Return a cell as a number, or None if it is none that is written so.

    Args:
        cell: A text; or a number, which is one in the column's own unit.
        spelling: How numbers are written; None for plain numbers.
    """
    if spelling is None or not isinstance(cell, str):
        return parse_number(cell)
    return spelling.parse(cell)


def parse_number(cell: Cell) -> float | None:
    """Return the cell as a finite number, or None if it is not one."""
    number = None if cell is None else read_float(cell)
    return number if number is not None and math.isfinite(number) else None


def misspelled_cell(place: str, name: str, cell: Cell, spelling: Spelling | None) -> DataError:
    """Return the error of a cell that is no number as the training rows write them."""
    words = type_override("target.tabular.categorical", [name]) + " reads words"
    if spelling is not None and spelling.reading != "date" and parse_number(cell) is not None:
        mark = "comma" if spelling.reading == "," else "point"
        unit = f" and the unit {spelling.unit}" if spelling.unit else ""
        return DataError(
            f"{place} holds {cell!r}, but numbers with a decimal {mark}{unit} in the training rows",
            tip=f"write it as they do; {words}",
        )
    return DataError(
        f"{place} holds {cell!r}, but the training rows hold only numbers",
        tip=f"list it in target.missing if it stands for no value; {words}",
    )
