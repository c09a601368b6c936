"""The data card: the facts about a task's data and samples of it, on one page without requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader

from mmx.errors import DataError
from mmx.evaluation.data_facts import DataFacts, InputReaders, draw_samples
from mmx.modalities import Column
from mmx.modalities.audio import AudioColumn, find_channel
from mmx.modalities.image import ImageColumn, find_decoding, read_image
from mmx.modalities.pixels import USUAL, Decoding
from mmx.modalities.sequence import SequenceColumn
from mmx.modalities.tabular import TabularColumn
from mmx.modalities.text import TextColumn
from mmx.modalities.vector import VectorColumn
from mmx.modalities.video import VideoColumn
from mmx.printable import printable, shorten
from mmx.reports import sample_media
from mmx.reports.data_tables import format_data_title, list_tables
from mmx.tasks import TaskData

SOUND_BYTES = 900_000
"""Bytes of all sounds of a page together."""
PICTURES = 48
"""Pictures of a page up to which they are large."""
LARGE, SMALL = 144, 72  # pixels of the longer side
TEXT = 400  # characters of a text
CELL = 60  # characters of a cell
CELLS = 16  # columns of a table of cells


@dataclass(frozen=True)
class Sample:
    """One row of a modality on the page.

    Attributes:
        caption: What it is called, and its class.
        about: Its size or length, for those who cannot see it too.
        file: Name of its file; "" where it is none.
        pictures: Addresses of pictures.
        sound: Address of a sound.
        text: A text.
        curves: Points of curves.
        error: Why it cannot be read.
    """

    caption: str
    about: str = ""
    file: str = ""
    pictures: tuple[str, ...] = ()
    sound: str = ""
    text: str = ""
    curves: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class CellTable:
    """Rows of a table's cells: what the rows are called, and their cells."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    left_out: int


@dataclass(frozen=True)
class Showing:
    """How a sample is shown.

    Attributes:
        side: Pixels of a picture's longer side.
        sound: Bytes of a sound.
        decoding: How images are decoded.
        channel: Which channel of sounds is read; None for the mean.
    """

    side: int
    sound: int
    decoding: Decoding = USUAL
    channel: int | None = None


def render_card(facts: DataFacts, data: TaskData, readers: InputReaders, seed: int) -> str:
    """Return the page.

    Args:
        facts: What :func:`~mmx.evaluation.data_facts.gather_facts` found.
        data: The data.
        readers: Modality to what reads it, where that is known.
        seed: Seed of the draw of samples.
    """
    rows = {name: draw_samples(data, name, seed) for name in data.columns}
    shared = _share_size(data, rows)
    samples = {}
    tables = {}
    for name, column in data.columns.items():
        if isinstance(column, TabularColumn):
            tables[name] = _list_cells(column, data, rows[name])
        else:
            reader = readers.get(name)
            how = replace(shared, decoding=find_decoding(reader), channel=find_channel(reader))
            samples[name] = [show_row(column, data, row, how) for row in rows[name]]
    pages = Environment(loader=PackageLoader("mmx.reports", "."), autoescape=True, trim_blocks=True)
    return pages.get_template("data_card.html.jinja").render(
        title=printable(format_data_title(facts)),
        facts=facts,
        tables=list_tables(facts),
        notes=[printable(note) for note in facts.notes],
        samples=samples,
        cells=tables,
        seed=seed,
        by_class=facts.kind == "classes",
        largest=max((each["train"] for each in facts.classes.values()), default=0),
        width=sample_media.CURVE_WIDTH,
        height=sample_media.CURVE_HEIGHT,
    )


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


def show_row(column: Column, data: TaskData, row: int, how: Showing) -> Sample:
    """Return one row of any kind of column; an unreadable one with the reason."""
    label = _name_label(data, row)
    caption = printable(f"{column.name_row(row)}{f': {label}' if label else ''}")
    try:
        for kind, show in SHOWN.items():
            if isinstance(column, kind):
                shown = show(column, row, caption, how)
                return replace(shown, file=printable(shorten(_name_file(column, row), CELL)))
    except DataError as error:
        return Sample(caption, error=printable(error.message))
    return Sample(caption, about="no picture for this kind of modality")


def _name_file(column: Column, row: int) -> str:
    """Return the name of a row's file without its folders; "" where it is none."""
    file = column.find_file(row)
    return "" if file is None else re.split(r"[/\\]", str(file))[-1]


def _name_label(data: TaskData, row: int) -> str:
    """Return the class, the labels or the number of a row."""
    value = data.values[row]
    if data.target.kind == "regression":
        return f"{float(value):.6g}"
    if data.target.kind == "multilabel":
        names = [data.target.classes[index] for index in np.flatnonzero(value.numpy() > 0)]
        return ", ".join(names) or "no label"
    return data.target.classes[int(value)] if data.target.classes else ""


def _show_image(column: ImageColumn, row: int, caption: str, how: Showing) -> Sample:
    pixels = read_image(column, row, None, how.decoding)
    about = f"{pixels.shape[1]}×{pixels.shape[0]} px"
    return Sample(caption, about, pictures=(sample_media.encode_picture(pixels, how.side),))


def _show_sound(column: AudioColumn, row: int, caption: str, how: Showing) -> Sample:
    samples, rate = column.read(row, how.channel)
    if not len(samples):
        return Sample(caption, "an empty sound")
    seconds = len(samples) / rate
    sound, shown = sample_media.encode_sound(samples, rate, how.sound)
    part = "" if shown >= 0.99 * seconds else f", the first {shown:.2g} s of it here"
    picture = sample_media.draw_spectrogram(samples, rate)
    return Sample(caption, f"{seconds:.3g} s, {rate} Hz{part}", pictures=(picture,), sound=sound)


def _show_text(column: TextColumn, row: int, caption: str, how: Showing) -> Sample:
    text = column.texts[row] or ""
    return Sample(caption, f"{len(text):,} characters", text=shorten(printable(text), TEXT))


def _show_video(column: VideoColumn, row: int, caption: str, how: Showing) -> Sample:
    frames = sample_media.read_strip(column, row)
    about = f"{frames[0].shape[1]}×{frames[0].shape[0]} px, {len(frames)} frames of it"
    pictures = tuple(sample_media.encode_picture(frame, how.side) for frame in frames)
    return Sample(caption, about, pictures=pictures)


def _show_sequence(column: SequenceColumn, row: int, caption: str, how: Showing) -> Sample:
    steps = column.read(row)
    drawn = min(steps.shape[1], sample_media.CURVES)
    part = f", the first {drawn} drawn" if drawn < steps.shape[1] else ""
    about = f"{len(steps)} steps of {_count(steps.shape[1], 'feature')}{part}"
    return Sample(caption, about, curves=tuple(sample_media.draw_polylines(steps)))


def _show_vector(column: VectorColumn, row: int, caption: str, how: Showing) -> Sample:
    numbers = column.read(row)
    about = (
        f"{_count(len(numbers), 'number')}, {np.nanmin(numbers):.3g} to {np.nanmax(numbers):.3g}"
    )
    return Sample(caption, about, curves=tuple(sample_media.draw_polylines(numbers[:, None])))


SHOWN: dict[type[Column], Callable[[Any, int, str, Showing], Sample]] = {
    ImageColumn: _show_image,
    AudioColumn: _show_sound,
    TextColumn: _show_text,
    VideoColumn: _show_video,
    SequenceColumn: _show_sequence,
    VectorColumn: _show_vector,
}
"""Kind of column to the function that shows a row of it."""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _list_cells(column: TabularColumn, data: TaskData, rows: Sequence[int]) -> CellTable:
    """Return the cells of some rows, with their class in front."""
    names = list(column.columns)[:CELLS]
    found = tuple(
        (
            printable(f"{column.name_row(row)}: {_name_label(data, row)}"),
            tuple(_format_cell(column.columns[name][row]) for name in names),
        )
        for row in rows
    )
    return CellTable(tuple(map(printable, names)), found, len(column.columns) - len(names))


def _format_cell(cell: object) -> str:
    return "" if cell is None else shorten(printable(str(cell)), CELL)
