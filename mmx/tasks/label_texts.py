"""Labels as texts: spaces, spellings of numbers, and numbers that are no classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmx.errors import DataError
from mmx.modalities.number_spelling import (
    AmbiguousNumberError,
    MixedUnitsError,
    Spelling,
    could_be_thousands,
    find_spelling,
    find_written,
)
from mmx.modalities.tabular_kinds import parse_number
from mmx.quoting import type_override
from mmx.tasks.advice import type_task_option
from mmx.tasks.labels import NameRow
from mmx.tasks.spelling import unify_spelling

Texts = list[str | None]
MOST_NUMBERS = 20
"""Number of different fractions from which labels are numbers, and no classes."""
JOINED_BY = ("|", ";", ",")
"""What several labels in a text are most often joined by."""
MISSING_WORDS = frozenset({"?", "N/A", "n/a", "#N/A", "<NA>", "NULL", "#NULL!", "NaT"})
"""What other programs write where nothing is known; None and - are names of classes too."""
ADVICE = "target.kind=regression objective=mean_squared_error"


def tidy_names(column: str, texts: Texts) -> tuple[Texts, tuple[str, ...]]:
    """Return names without spaces around them and in one spelling, and notes."""
    bare = [None if text is None else text.strip() for text in texts]
    spaced = sum(one != other for one, other in zip(texts, bare, strict=True))
    notes = []
    if spaced:
        notes.append(f"spaces around {spaced} of {len(texts)} labels in '{column}' are left out")
    unified = unify_spelling(bare)
    spellings: dict[str, set[str]] = {}
    for one, other in zip(bare, unified, strict=True):
        if one is not None and other is not None:
            spellings.setdefault(other, set()).add(one)
    notes += [
        f"labels {' and '.join(map(repr, sorted(names)))} in '{column}' are one class"
        for names in spellings.values()
        if len(names) > 1
    ]
    notes += note_lists(column, unified)
    return unified, tuple(notes)


def note_lists(column: str, texts: Texts) -> Iterator[str]:
    """Yield a note where labels seem to be several each, though each text is one class.

    They are lists, or some of them join names of other classes.
    """
    names = {text for text in texts if text is not None}
    lists = sorted(name for name in names if name.startswith("[") and name.endswith("]"))
    if lists and len(lists) == len(names):
        yield _note_several(column, max(lists, key=len), "target.kind=multilabel")
        return
    for mark in JOINED_BY:
        joined = sorted(name for name in names if mark in name.strip(mark))
        if any({part.strip() for part in name.split(mark)} <= names for name in joined):
            type_this = type_override("target.label_separator", mark)
            yield _note_several(column, joined[0], f"target.kind=multilabel {type_this}")
            return


def _note_several(column: str, name: str, type_this: str) -> str:
    return (
        f"{name!r} in '{column}' is one class, though it looks like several labels; {type_this} "
        "reads them one by one"
    )


def note_missing_words(column: str, texts: Texts, missing: Sequence[str]) -> tuple[str, ...]:
    """Return a note on classes with names that other programs write where nothing is known."""
    names = {text for text in texts if text is not None}
    words = sorted(names & MISSING_WORDS)
    if not words or len(words) == len(names):
        return ()
    option = type_task_option("missing", [*missing, *words])
    return (
        f"{sum(text in words for text in texts)} of {len(texts)} labels in '{column}' are "
        f"{' or '.join(map(repr, words))}, and count as a class; if they stand for no label: "
        f"{option}, and {type_task_option('unlabelled', 'drop')}",
    )


def refuse_numbers(column: str, texts: Texts) -> None:
    """Refuse labels that are many different numbers, of which each would be a class.

    Raises:
        DataError: There are more than :data:`MOST_NUMBERS` different ones, and some have a
            fraction or no two rows have the same.
    """
    names = {text for text in texts if text is not None}
    numbers = [parse_number(name) for name in names]
    if len(names) <= MOST_NUMBERS or None in numbers:
        return
    fractions = [name for name in sorted(names) if not float(name).is_integer()]
    if not fractions and len(names) < sum(text is not None for text in texts):
        return
    example = fractions[0] if fractions else min(names, key=float)
    raise DataError(
        f"label '{column}' holds {len(names)} different numbers, such as {example}; each would be "
        "a class of its own",
        tip=f"{ADVICE}   (predicts numbers); for classes, write a column with the name of each "
        "number's bin, such as low, middle, high",
    )


def find_label_spelling(
    column: str, texts: Texts, decimal: str | None, name_row: NameRow
) -> tuple[Spelling | None, tuple[str, ...]]:
    """Return how the numbers of a regression are written, None for plain numbers, and a note.

    Raises:
        DataError: They have two readings or several units.
    """
    there: dict[str, int] = {}
    for row, text in enumerate(texts):
        if text is not None and (written := find_written(text)) is not None:
            there.setdefault(written, row)
    if not there:
        return None, ()
    if decimal != "," and _are_plain(list(there)):
        return None, () if decimal == "." else _note_doubtful_point(column, list(there))
    try:
        spelling = find_spelling(there, decimal)
    except AmbiguousNumberError as error:
        one, other = error.values
        raise DataError(
            f"{name_row(there[error.example])}: label '{column}' is {error.example!r}, which is "
            f"{one:.12g} or {other:.12g}, and no label says which",
            tip=type_task_option("csv.decimal", ","),
        ) from error
    except MixedUnitsError as error:
        raise DataError(
            f"label '{column}' holds numbers of several units, such as {error}",
            tip="give all labels in one unit",
        ) from error
    if spelling is None or (spelling == Spelling(".") and _are_plain(list(there))):
        return None, ()
    example = next(iter(there))
    return spelling, (f"label '{column}' holds {spelling.describe(example)}",)


def _note_doubtful_point(column: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Return a note on plain numbers of which all points may separate thousands."""
    if (point := could_be_thousands(texts)) is None:
        return ()
    return (
        f"label '{column}' is read with a decimal point, though all of its points may separate "
        f"thousands, such as {point}; {type_task_option('csv.decimal', ',')} reads thousands",
    )


def _are_plain(texts: Sequence[str]) -> bool:
    return all(parse_number(text) is not None for text in texts)


def advise_missing(missing: Sequence[str], cells: Sequence[object]) -> str:
    """Return what to type if a text that counts as missing is the name of a class; else ""."""
    words = {cell.strip() for cell in cells if isinstance(cell, str)} & set(missing) - {""}
    if not words:
        return ""
    word = sorted(words)[0]
    rest = [one for one in missing if one not in words]
    return f"; if {word} is the name of a class: {type_task_option('missing', rest)}"
