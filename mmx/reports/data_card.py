"""The data card: the facts about a task's data and samples of it, on one page without requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmx.evaluation.data_facts import DataFacts, InputReaders, draw_samples
from mmx.modalities.audio import AudioColumn, find_channel
from mmx.modalities.image import ImageColumn, find_decoding
from mmx.modalities.tabular import TabularColumn
from mmx.modalities.video import VideoColumn
from mmx.printable import printable, shorten
from mmx.reports import sample_media
from mmx.reports.chart_specs import MeasuredRow, draw_bars, draw_measured
from mmx.reports.data_tables import FactTable, list_tables, name_outputs
from mmx.reports.page import Chart, Grid, render_page
from mmx.reports.samples import SOUND_BYTES, Sample, Showing, name_label, show_row
from mmx.tasks import TaskData

PICTURES = 48
"""Pictures of a page up to which they are large."""
LARGE, SMALL = 144, 72  # pixels of the longer side
CELL = 60  # characters of a cell
CELLS = 16  # columns of a table of cells
WIDTH = 640  # pixels of the chart
PURPOSES = {"train": "for training", "val": "for validation", "test": "for the test"}


@dataclass(frozen=True)
class ShownModality:
    """Samples of one modality.

    Attributes:
        name: Of the modality.
        samples: Rows that have it, each by itself; () where they are cells.
        cells: The rows as a table of their cells; None where each is shown by itself.
        left_out: How many columns of the table are left out.
    """

    name: str
    samples: tuple[Sample, ...] = ()
    cells: Grid | None = None
    left_out: int = 0

    @property
    def is_wide(self) -> bool:
        """Whether a sample needs the room of several."""
        return any(each.text or len(each.pictures) > 1 for each in self.samples[:1])


def render_card(
    facts: DataFacts, data: TaskData, readers: InputReaders, seed: int, command: str
) -> str:
    """Return the page.

    Args:
        facts: What :func:`~mmx.evaluation.data_facts.gather_facts` found.
        data: The data.
        readers: Modality to what reads it, where that is known.
        seed: Seed of the draw of samples.
        command: The command that writes the card.
    """
    name = printable(facts.name)
    tables = list_tables(facts)
    return render_page(
        "data_card.html.jinja",
        title=f"Data card: {name}",
        over=f"Data card: {name}",
        headline=_describe_rows(facts),
        lead=_describe_splits(facts),
        picture=_draw_outputs(facts, tables),
        notes=[printable(note) for note in facts.notes],
        tables=[(_to_grid(each), each) for each in tables if not each.is_of_outputs],
        modalities=facts.modalities,
        shown=_show_modalities(data, readers, seed),
        seed=seed,
        by_class=facts.kind == "classes",
        fingerprint=facts.fingerprint,
        command=printable(command),
    )


def _describe_rows(facts: DataFacts) -> str:
    """Return the page's sentence: how many rows of what, and what is to be predicted."""
    rows = sum(facts.splits.values())
    inputs = _join([printable(name) for name in facts.modalities])
    return f"{rows:,} row{'' if rows == 1 else 's'} of {inputs}; {name_outputs(facts)}"


def _describe_splits(facts: DataFacts) -> str:
    """Return how many rows each split has, and how many rows lack what."""
    parts = [
        f"{count:,} {PURPOSES.get(split, f'in {printable(split)}')}"
        for split, count in facts.splits.items()
    ]
    verb = "is" if facts.unused == 1 else "are"
    unused = f"; {facts.unused:,} more {verb} in no split" if facts.unused else ""
    lacking = [
        f"{count:,} {'lacks' if count == 1 else 'lack'} {printable(name)}"
        for name, each in facts.modalities.items()
        if (count := sum(each.missing.values()))
    ]
    whole = f"Of these rows, {_join(lacking)}." if lacking else "No row lacks an input."
    return f"{_join(parts)}{unused}. {whole}"


def _join(words: Sequence[str]) -> str:
    """Return words as a list in a sentence."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _draw_outputs(facts: DataFacts, tables: Sequence[FactTable]) -> Chart | None:
    """Return the training rows of each class or label, or how the numbers to predict spread."""
    found = next((each for each in tables if each.is_of_outputs), None)
    if found is None:
        return None
    grid = _to_grid(found)
    if facts.kind == "regression":
        spreads = [
            MeasuredRow(printable(split), each.median, (each.low, each.high), f"{each.median:.6g}")
            for split, each in facts.numbers.items()
        ]
        note = "A dot is the median of a split; a line goes from its least number to its most."
        spec = draw_measured(spreads, x="number to predict", from_zero=False)
        return Chart("Numbers to predict", spec, grid, note, width=WIDTH)
    what = "class" if facts.kind == "classes" else "label"
    counts = [facts.classes[row[0]]["train"] for row in found.rows]
    bars = [
        MeasuredRow(row[0], count, text=f"{count:,}")
        for row, count in zip(grid.rows, counts, strict=True)
    ]
    spec = draw_bars(bars, x="training rows")
    return Chart(f"Training rows of each {what}", spec, grid, found.more, width=WIDTH)


def _to_grid(table: FactTable) -> Grid:
    """Return a table as pages have it."""
    rows = tuple(tuple(map(printable, row)) for row in table.rows)
    return Grid(printable(table.title), tuple(map(printable, table.heads)), rows)


def _show_modalities(data: TaskData, readers: InputReaders, seed: int) -> list[ShownModality]:
    """Return training rows of each modality."""
    rows = {name: draw_samples(data, name, seed) for name in data.columns}
    shared = _share_size(data, rows)
    found = []
    for name, column in data.columns.items():
        if isinstance(column, TabularColumn):
            cells = _list_cells(name, column, data, rows[name])
            found.append(ShownModality(name, (), cells, max(0, len(column.columns) - CELLS)))
            continue
        reader = readers.get(name)
        how = replace(shared, decoding=find_decoding(reader), channel=find_channel(reader))
        samples = tuple(show_row(column, data, row, how) for row in rows[name])
        found.append(ShownModality(name, samples))
    return found


def _share_size(data: TaskData, rows: dict[str, list[int]]) -> Showing:
    """Return what each sample may take, so that the page stays below 2 MB."""
    pictures = sum(
        len(rows[name]) * (sample_media.FRAMES if isinstance(column, VideoColumn) else 1)
        for name, column in data.columns.items()
        if isinstance(column, (ImageColumn, VideoColumn, AudioColumn))
    )
    sounds = sum(
        len(rows[name]) for name, column in data.columns.items() if isinstance(column, AudioColumn)
    )
    return Showing(LARGE if pictures <= PICTURES else SMALL, SOUND_BYTES // max(1, sounds))


def _list_cells(name: str, column: TabularColumn, data: TaskData, rows: Sequence[int]) -> Grid:
    """Return the cells of some rows, with their class in front."""
    names = list(column.columns)[:CELLS]
    found = tuple(
        (
            _name_row(column, data, row),
            *(_format_cell(column.columns[each][row]) for each in names),
        )
        for row in rows
    )
    return Grid(f"rows of {name}", ("row", *map(printable, names)), found)


def _name_row(column: TabularColumn, data: TaskData, row: int) -> str:
    return printable(f"{column.name_row(row)}: {name_label(data, row)}")


def _format_cell(cell: object) -> str:
    return "" if cell is None else shorten(printable(str(cell)), CELL)
