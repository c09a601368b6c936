"""Several labels in one cell, as a list or with a separator between them."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from typing import Any

from mmx.errors import DataError
from mmx.modalities.files import name_row as number_row
from mmx.tasks.advice import type_task_option
from mmx.tasks.cells import as_text
from mmx.tasks.labels import NameRow

USUAL = "|"
RARE_IN_NAMES = (",", ";", "|", "\t", "\n", "、", "，", "；", "｜", "•", "·", "~", "#", "\\", ">")
IN_SOME_NAMES = ("/", "&", "+")
IN_MANY_NAMES = (" ", "-", ":", "_", ".", " and ", " - ")
"""Used as a separator only if the user says so."""
SEPARATORS = (*RARE_IN_NAMES, *IN_SOME_NAMES, *IN_MANY_NAMES)

BROKEN_LIST = re.compile(r"""\[.*[,'"].*\]|\{.*[,'"].*\}""", re.S)
"""Texts in brackets with commas or quotes."""
LIST_TIP = 'write ["sea", "sky"] or sea|sky, and [] for a row without labels'

Sets = list[list[str] | None]


def read_sets(
    column: str,
    cells: list[Any],
    missing: frozenset[str],
    separator: str,
    name_row: NameRow = number_row,
) -> tuple[Sets, tuple[str, ...]]:
    """Return the labels of each row, None where they are missing, and notes.

    Args:
        column: Name of the column, for messages.
        cells: Lists; texts that are lists, as JSON or Python write them; or texts with a
            separator between the labels. An empty list means that the row has no label, which
            differs from a missing cell.
        missing: Texts that count as missing.
        separator: Separator between the labels of a text.
        name_row: Returns what a row is called in messages.

    Raises:
        DataError: Some cells are lists and others are not, or no text contains the separator
            and some seem to contain another one.
    """
    lists = [_as_list(cell) for cell in cells]
    empty = [one == [] and isinstance(cell, str) for one, cell in zip(lists, cells, strict=True)]
    _refuse_broken_lists(column, cells, lists, name_row)
    if any(one is not None and not none for one, none in zip(lists, empty, strict=True)):
        return _read_lists(column, cells, lists, missing, name_row), ()
    # ``[]`` is the empty set between texts with a separator too, as ``mmx predict`` writes it.
    texts = [
        "" if empty[row] else next(iter(_read_names(column, name_row(row), [cell], missing)), None)
        for row, cell in enumerate(cells)
    ]
    filled = [text for text in texts if text is not None]
    found, notes = _choose_separator(column, filled, separator)
    return [None if text is None else _split(text, found) for text in texts], notes


def _refuse_broken_lists(
    column: str, cells: list[Any], lists: list[list[Any] | None], name_row: NameRow
) -> None:
    """Refuse a text that looks like a list and is none, such as NumPy's ``['a' 'b']``.

    Raises:
        DataError: There is such a text; the message names its row.
    """
    for row, (cell, one) in enumerate(zip(cells, lists, strict=True)):
        if one is None and isinstance(cell, str) and BROKEN_LIST.fullmatch(cell.strip()):
            raise DataError(
                f"{name_row(row)}: label '{column}' is {cell[:40]!r}, which looks like a list, "
                "but is neither JSON's nor Python's",
                tip=LIST_TIP,
            )


def _read_lists(
    column: str,
    cells: list[Any],
    lists: list[list[Any] | None],
    missing: frozenset[str],
    name_row: NameRow,
) -> Sets:
    """Return the labels of cells of which each is a list or missing."""
    for row, (cell, one) in enumerate(zip(cells, lists, strict=True)):
        if one is None and not _is_missing(cell, missing):
            raise DataError(
                f"{name_row(row)}: label '{column}' is {str(cell)[:40]!r}, "
                "but a list in other rows; write the labels of all rows in the same way",
                tip=LIST_TIP,
            )
    return [
        None if one is None else _read_names(column, name_row(row), one, missing)
        for row, one in enumerate(lists)
    ]


def _split(text: str, separator: str) -> list[str]:
    """Return the names between separators, stripped, without empty ones."""
    return [name for part in text.split(separator) if (name := part.strip())]


def _is_missing(cell: Any, missing: frozenset[str]) -> bool:
    return cell is None or cell != cell or cell == b"" or str(cell).strip() in missing


def _read_names(column: str, row: str, items: list[Any], missing: frozenset[str]) -> list[str]:
    try:
        return [name for item in items if (name := as_text(item, missing)) is not None]
    except TypeError as error:
        raise DataError(
            f"{row}: label '{column}' holds {error}, which is not text",
            tip="labels are text or numbers, with a separator or in a list",
        ) from error


def _as_list(cell: Any) -> list[Any] | None:
    """Return a list, or the list that a text represents; None for any other cell."""
    if isinstance(cell, list):
        return cell
    text = cell.strip() if isinstance(cell, str) else ""
    if text == "set()":  # as Python prints the empty set
        return []
    if (text[:1], text[-1:]) not in (("[", "]"), ("{", "}"), ("(", ")")):
        return None
    # The text of a NumPy array has no commas, so Python would concatenate its strings.
    if re.search(r"""['"]\s+['"]""", text):
        return None
    # literal_eval reads Python's lists, tuples and sets, and executes nothing.
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        if isinstance(value, list | tuple | set | frozenset):
            items = list(value)
            # Nested lists have no reading as labels, so the cell stays text.
            if not any(isinstance(item, list | dict | tuple | set) for item in items):
                return items
    return None


def _choose_separator(column: str, texts: list[str], given: str) -> tuple[str, tuple[str, ...]]:
    """Return the separator: the given one, or another one that must be meant."""
    cells = set(texts)
    if any(given in cell for cell in cells):
        return given, _note_other_separators(column, cells, given)
    there = {one: [cell for cell in cells if one in cell] for one in SEPARATORS if one != given}
    likely = _find_likely(cells, there)
    # Another separator replaces the default only, since a separator that was typed is meant.
    if len(likely) == 1 and likely[0] not in IN_MANY_NAMES and given == USUAL:
        return likely[0], (
            f"labels in '{column}' are separated by {likely[0]!r}, since no cell has {given!r}",
        )
    asked = likely or [one for one in RARE_IN_NAMES if len(there.get(one, ())) > 1]
    if not asked:
        return given, _note_spaces(column, cells, given)
    one = min(asked, key=lambda separator: (-len(separator), separator))
    raise DataError(
        f"no cell of '{column}' has the separator {given!r} between its labels, but "
        f"{sum(one in text for text in texts)} of {len(texts)} have {one!r}, such as "
        f"{sorted(there[one])[0][:60]!r}",
        tip=type_task_option("label_separator", one)
        + ", or target.kind=classes if each cell is one label",
    )


def _note_spaces(column: str, cells: set[str], given: str) -> tuple[str, ...]:
    """Return a note if cells seem to consist of labels between spaces.

    Names have spaces too, so that labels are read whole unless the user says otherwise.
    """
    several = sorted(cell for cell in cells if len(_split(cell, " ")) > 1)
    parts = {part for cell in several for part in _split(cell, " ")}
    if not parts & cells or not _recurs(cells, " ", least=0.5):
        return ()
    return (
        f"labels in '{column}' are read whole, such as {several[0][:60]!r}, since no cell has "
        f"{given!r}; if spaces separate them: {type_task_option('label_separator', ' ')}",
    )


def _find_likely(cells: set[str], there: dict[str, list[str]]) -> list[str]:
    """Return the separators that split cells into labels which occur in other cells too.

    Separators that are common in names are returned only if there is no other.

    Args:
        cells: All distinct cells.
        there: Separator to the cells that contain it.
    """
    clear = [one for one, found in there.items() if found and _recurs(cells, one)]
    return [one for one in clear if one not in IN_MANY_NAMES] or clear


def _note_other_separators(column: str, cells: set[str], given: str) -> tuple[str, ...]:
    """Return a note if some labels seem to consist of several labels."""
    names = {name for cell in cells for name in _split(cell, given)}
    for one in RARE_IN_NAMES:
        found = sorted(name for name in names if one in name)
        if one != given and found and _recurs(names, one):
            return (
                f"labels in '{column}' are separated by {given!r}, but {len(found)} of them have "
                f"{one!r}, such as {found[0][:60]!r}: are these several labels?",
            )
    return ()


def _recurs(cells: set[str], separator: str, least: float | None = None) -> bool:
    """Return whether the parts of cells with a separator occur in other cells too.

    Labels usually do, while the parts of one name do not.

    Args:
        cells: All distinct cells.
        separator: What may separate labels.
        least: The share of the parts that has to; None: half of them, or all if the separator
            is common in names.
    """
    if least is None:
        least = 1.0 if separator in IN_MANY_NAMES else 0.5
    counts: Counter[str] = Counter()
    parts: set[str] = set()
    for cell in cells:
        names = set(_split(cell, separator))
        counts.update(names)
        parts |= names if separator in cell else set()
    again = sum(counts[name] > 1 for name in parts)  # parts that occur in other cells
    return again >= least * len(parts)
