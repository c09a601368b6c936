"""Sizes, rates, lengths and scripts of the rows of each kind of column, one function a kind.

Files are measured by their headers where a header says it: nothing is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import PIL.ExifTags
import PIL.Image

from mmx.errors import DataError
from mmx.evaluation.data_facts.facts import Quantity, Tally
from mmx.evaluation.data_facts.scripts import find_script
from mmx.modalities import Column, Modality
from mmx.modalities.audio import AudioColumn
from mmx.modalities.clips import describe_clip
from mmx.modalities.files import FileOrBytes, call_each
from mmx.modalities.image import ImageColumn, find_decoding
from mmx.modalities.pixels import USUAL, open_image
from mmx.modalities.sequence import SequenceColumn
from mmx.modalities.text import TextColumn
from mmx.modalities.tokenizers import make_tokenizer
from mmx.modalities.vector import VectorColumn
from mmx.modalities.video import VideoColumn

Measured = TypeVar("Measured")
ON_ITS_SIDE = (5, 6, 7, 8)
"""EXIF orientations in which height and width change places."""


@dataclass
class Measures:
    """What was measured of a column.

    Attributes:
        quantities: Sizes and lengths.
        tallies: How many rows have which value.
        unreadable: Why rows could not be measured.
        most_pixels: Pixels that an image may have.
    """

    quantities: list[Quantity] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    most_pixels: int = USUAL.max_pixels


def measure_column(
    column: Column, rows: Sequence[int], reader: Modality[Any, Any] | None = None
) -> Measures:
    """Return what there is to say about some rows of a column that have the modality.

    Args:
        column: The column, of any kind; a kind without a function here has no measures.
        rows: Row numbers; those that lack the modality are passed over.
        reader: What reads it, if that is known: it bounds the pixels of images.
    """
    there = [int(row) for row in rows if column.present[row]]
    found = Measures(most_pixels=find_decoding(reader).max_pixels)
    for kind, measure in MEASURES.items():
        if isinstance(column, kind) and there:
            measure(column, there, found)
    return found


def _measure_each(
    rows: Sequence[int], measure: Callable[[int], Measured], found: Measures
) -> Iterator[Measured]:
    """Return what each row gives; a row that gives an error is noted and passed over."""
    results: list[Measured | str] = [""] * len(rows)

    def try_one(place: int) -> None:
        try:
            results[place] = measure(rows[place])
        except DataError as error:
            results[place] = error.message

    call_each(try_one, len(rows))
    for result in results:
        if isinstance(result, str):
            found.unreadable.append(result)
        else:
            yield result


@dataclass(frozen=True)
class _Picture:
    """What the header of an image says: pixels, mode of Pillow, format."""

    width: int
    height: int
    mode: str
    format: str


def _measure_images(column: ImageColumn, rows: Sequence[int], found: Measures) -> None:
    def measure(row: int) -> _Picture:
        image = column.images[row]
        if isinstance(image, FileOrBytes):
            return _read_header(image, column.name_row(row), found.most_pixels)
        height, width = np.asarray(image).shape[:2]
        mode = "L" if np.asarray(image).ndim == 2 else "RGB"
        return _Picture(width, height, mode, "array")

    pictures = list(_measure_each(rows, measure, found))
    if not pictures:
        return
    found.quantities += [
        Quantity.of("width", "px", [one.width for one in pictures]),
        Quantity.of("height", "px", [one.height for one in pictures]),
    ]
    found.tallies += [
        Tally.of("size", [f"{one.width}×{one.height}" for one in pictures]),
        Tally.of("mode", [one.mode for one in pictures]),
        Tally.of("format", [one.format for one in pictures]),
    ]


def _read_header(image: FileOrBytes, name: str, most_pixels: int) -> _Picture:
    """Return the size of an image as it is shown, its mode and its format.

    Raises:
        DataError: Its header cannot be read.
    """
    try:
        with open_image(image, most_pixels) as opened:
            width, height = opened.size
            if opened.getexif().get(PIL.ExifTags.Base.Orientation, 1) in ON_ITS_SIDE:
                width, height = height, width
            return _Picture(width, height, opened.mode, opened.format or "")
    except Exception as error:  # Pillow's readers raise many types for a damaged file
        why = "no image" if isinstance(error, PIL.UnidentifiedImageError) else str(error)
        where = f"of {len(image)} bytes" if isinstance(image, bytes) else str(image)
        raise DataError(f"{name}: cannot read image {where}: {why}") from error


def _measure_sounds(column: AudioColumn, rows: Sequence[int], found: Measures) -> None:
    sounds = list(_measure_each(rows, column.measure, found))
    if not sounds:
        return
    found.quantities.append(
        Quantity.of("length", "s", [frames / max(rate, 1) for frames, rate in sounds])
    )
    found.tallies.append(Tally.of("sampling rate", [f"{rate} Hz" for _, rate in sounds]))


def _measure_texts(column: TextColumn, rows: Sequence[int], found: Measures) -> None:
    texts = column.read(rows)
    tokens = make_tokenizer("script")
    found.quantities += [
        Quantity.of("characters", "", [len(text) for text in texts]),
        Quantity.of("words", "", [len(tokens(text)) for text in texts]),
    ]
    found.tallies.append(Tally.of("script", [find_script(text) for text in texts]))


def _measure_vectors(column: VectorColumn, rows: Sequence[int], found: Measures) -> None:
    def measure(row: int) -> tuple[int, int]:
        numbers = column.read(row)
        return len(numbers), int(np.isnan(numbers).sum())

    vectors = list(_measure_each(rows, measure, found))
    if not vectors:
        return
    found.tallies.append(Tally.of("dimension", [str(width) for width, _ in vectors]))
    if any(items for _, items in vectors):
        found.quantities.append(
            Quantity.of("missing items of a row", "", [items for _, items in vectors])
        )


def _measure_sequences(column: SequenceColumn, rows: Sequence[int], found: Measures) -> None:
    shapes = list(_measure_each(rows, column.shape, found))
    if not shapes:
        return
    found.quantities.append(Quantity.of("steps", "", [steps for steps, _ in shapes]))
    found.tallies.append(Tally.of("dimension", [str(width) for _, width in shapes]))


@dataclass(frozen=True)
class _Clip:
    """A video: its frames, and how long it is in seconds; None where it has no times."""

    frames: int
    seconds: float | None
    width: int
    height: int


def _measure_videos(column: VideoColumn, rows: Sequence[int], found: Measures) -> None:
    def measure(row: int) -> _Clip:
        video = column.videos[row]
        if isinstance(video, FileOrBytes):
            return _Clip(*describe_clip(video, column.name_row(row)))
        frames, height, width = np.asarray(video).shape[:3]
        return _Clip(frames, None, width, height)

    clips = list(_measure_each(rows, measure, found))
    if not clips:
        return
    found.quantities.append(Quantity.of("frames", "", [one.frames for one in clips]))
    seconds = [one.seconds for one in clips if one.seconds is not None]
    if seconds:
        found.quantities.append(Quantity.of("length", "s", seconds))
    rates = [f"{one.frames / one.seconds:.4g} per s" for one in clips if one.seconds]
    found.tallies += [
        Tally.of("stored size", [f"{one.width}×{one.height}" for one in clips]),
        *([Tally.of("frame rate", rates)] if rates else []),
    ]


MEASURES: dict[type[Column], Callable[[Any, Sequence[int], Measures], None]] = {
    ImageColumn: _measure_images,
    AudioColumn: _measure_sounds,
    TextColumn: _measure_texts,
    VectorColumn: _measure_vectors,
    SequenceColumn: _measure_sequences,
    VideoColumn: _measure_videos,
}
"""Kind of column to the function that measures it."""
