"""The facts about a task's data as tables of text, the same for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from mmx.evaluation.data_facts import DataFacts, ModalityFacts, Quantity
from mmx.json_object import Json

MOST_CLASSES = 50
"""Classes that a table lists; JSON has all."""
MOST_COLUMNS = 200
MOST_VALUES = 6
"""Values of a tally that are listed."""


@dataclass(frozen=True)
class FactTable:
    """A table of text.

    Attributes:
        title: What is in it.
        heads: Names of its columns; the first column names the rows.
        rows: The cells.
        more: What is left out, in words; "" if nothing is.
        is_of_outputs: Whether it says what is to be predicted: classes, labels or numbers.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: str = ""
    is_of_outputs: bool = False


def list_tables(facts: DataFacts) -> list[FactTable]:
    """Return the facts as tables, without those that would be empty."""
    splits = list(facts.splits)
    found = [
        FactTable("Rows", ("", *splits), (("rows", *_format_counts(facts.splits, splits)),)),
        _list_classes(facts, splits),
        _list_numbers(facts),
        _list_missing(facts, splits),
        *(_list_measures(name, each) for name, each in facts.modalities.items()),
        _list_columns(facts),
    ]
    return [table for table in found if table is not None and table.rows]


def format_data_title(facts: DataFacts) -> str:
    """Return name, kind and number of rows, in one line."""
    rows = sum(facts.splits.values())
    unused = f" ({facts.unused:,} more in no split)" if facts.unused else ""
    return (
        f"{facts.name}: {rows:,} rows{unused} of {', '.join(facts.modalities)}; "
        f"{name_outputs(facts)}"
    )


def name_outputs(facts: DataFacts) -> str:
    """Return what is to be predicted, in a few words."""
    return {
        "classes": f"{len(facts.classes)} classes",
        "multilabel": f"{len(facts.classes)} labels, several a row",
        "regression": "a number to predict",
    }[facts.kind]


def facts_to_json(facts: DataFacts) -> Json:
    """Return the facts as data for JSON; nothing is left out."""
    data: Json = asdict(facts)
    return data


def _format_counts(counts: Mapping[str, int], splits: Sequence[str]) -> Iterator[str]:
    return (f"{counts[split]:,}" for split in splits)


def _list_classes(facts: DataFacts, splits: Sequence[str]) -> FactTable:
    """Return the rows of each class, the classes with most training rows first if there are many.

    The order of a few classes is that of the model's outputs.
    """
    names = list(facts.classes)
    if len(names) > MOST_CLASSES:
        names.sort(key=lambda name: -facts.classes[name]["train"])
    rows = tuple(
        (name, *_format_counts(facts.classes[name], splits)) for name in names[:MOST_CLASSES]
    )
    left = len(names) - len(rows)
    what = "class" if facts.kind == "classes" else "label"
    more = f"{left} of {len(names)} have fewer training rows, and are left out here" if left else ""
    return FactTable(f"Rows by {what}", (what, *splits), rows, more, is_of_outputs=True)


def _list_numbers(facts: DataFacts) -> FactTable:
    rows = tuple(
        (split, f"{one.rows:,}", *_format_spread(one)) for split, one in facts.numbers.items()
    )
    return FactTable(
        "Numbers to predict", ("split", "rows", "least", "median", "most"), rows, is_of_outputs=True
    )


def _list_missing(facts: DataFacts, splits: Sequence[str]) -> FactTable:
    """Return how many rows lack each modality, and how many cells of its columns are missing."""
    rows = []
    for name, each in facts.modalities.items():
        rows.append((name, *_format_shares(each.missing, facts, splits)))
        rows += [
            (f"{name}: {column}", *_format_shares(counts, facts, splits))
            for column, counts in each.missing_cells.items()
            if any(counts.values())
        ]
    return FactTable("Missing", ("", *splits), tuple(rows))


def _format_shares(
    counts: Mapping[str, int], facts: DataFacts, splits: Sequence[str]
) -> Iterator[str]:
    """Yield counts with their share of the split, as ``12 (3 %)``."""
    for split in splits:
        count, whole = counts[split], facts.splits[split]
        yield f"{count:,} ({count / whole:.1%})".replace("%", " %") if count else "0"


def _list_measures(name: str, facts: ModalityFacts) -> FactTable:
    """Return sizes, lengths, rates and scripts of a modality."""
    rows = []
    for quantity in facts.quantities:
        low, median, high = _format_spread(quantity)
        spread = low if low == high else f"{low} to {high}, median {median}"
        rows.append((quantity.name, f"{spread} {quantity.unit}".strip()))
    for tally in facts.tallies:
        values = list(tally.rows.items())
        if len(values) == 1:
            rows.append((tally.name, f"{values[0][0]} in all rows"))
            continue
        shown = [f"{value} ({count:,})" for value, count in values[:MOST_VALUES]]
        if left := len(values) - len(shown):
            shown.append(f"{left} more")
        rows.append((tally.name, ", ".join(shown)))
    if facts.unreadable:
        rows.append(("cannot be read", f"{len(facts.unreadable):,} rows"))
    return FactTable(name, ("", "rows of all splits"), tuple(rows))


def _format_spread(one: Quantity) -> tuple[str, str, str]:
    """Return the least, the middle and the largest value as text."""
    return f"{one.low:.6g}", f"{one.median:.6g}", f"{one.high:.6g}"


def _list_columns(facts: DataFacts) -> FactTable:
    """Return what columns are read as, those that are left out last."""
    columns = sorted(facts.columns, key=lambda column: not column.use)
    rows = tuple((one.name, one.use or "left out", one.holds) for one in columns[:MOST_COLUMNS])
    left = len(columns) - len(rows)
    return FactTable(
        "Columns", ("column", "read as", "holds"), rows, f"{left} more columns" if left else ""
    )
