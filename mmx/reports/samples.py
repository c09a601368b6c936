"""Rows of a task as a page shows them: a picture, a sound, a text or curves, with a caption."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmx.errors import DataError
from mmx.modalities import Column
from mmx.modalities.audio import AudioColumn
from mmx.modalities.image import ImageColumn, read_image
from mmx.modalities.pixels import USUAL, Decoding
from mmx.modalities.sequence import SequenceColumn
from mmx.modalities.text import TextColumn
from mmx.modalities.vector import VectorColumn
from mmx.modalities.video import VideoColumn
from mmx.printable import printable, shorten
from mmx.reports import sample_media
from mmx.tasks import TaskData

SOUND_BYTES = 600_000
"""Bytes of all sounds of a page together, which is below 2 MB with pictures and charts."""
TEXT = 400  # characters of a text
FILE = 60  # characters of a file's name


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


def show_row(column: Column, data: TaskData, row: int, how: Showing) -> Sample:
    """Return one row of any kind of column; an unreadable one with the reason."""
    label = name_label(data, row)
    caption = printable(f"{column.name_row(row)}{f': {label}' if label else ''}")
    try:
        for kind, show in SHOWN.items():
            if isinstance(column, kind):
                shown = show(column, row, caption, how)
                return replace(shown, file=printable(shorten(_name_file(column, row), FILE)))
    except DataError as error:
        return Sample(caption, error=printable(error.message))
    return Sample(caption, about="no picture for this kind of modality")


def _name_file(column: Column, row: int) -> str:
    """Return the name of a row's file without its folders; "" where it is none."""
    file = column.find_file(row)
    return "" if file is None else re.split(r"[/\\]", str(file))[-1]


def name_label(data: TaskData, row: int) -> str:
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
