"""The chunks of WAV, RF64, AIFF, CAF and AU files: what a header counts, and what there is.

Reference: Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft 1991);
Audio Interchange File Format AIFF (Apple 1989); Core Audio Format 1.0 (Apple 2006); EBU Tech 3306
(RF64, 2009).
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

NOT_HERE = 0xFFFFFFFF
"""A length of 32 bits that says that it stands elsewhere, or is not known."""
STREAMED = 0x7FFF0000
"""Bytes of samples in a header that was written before their number was known, at least."""
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")
"""How tags of other formats begin, which some programs append."""


@dataclass(frozen=True)
class _Form:
    """How a format has its chunks.

    Attributes:
        layout: Name and length, as ``struct`` has it.
        samples: Name of the chunk of samples.
        begin: Place of the first chunk.
        aligned: Whether chunks begin at even places.
    """

    layout: str
    samples: bytes
    begin: int = 12
    aligned: bool = True


_WAVE, _AIFF = _Form("<4sI", b"data"), _Form(">4sI", b"SSND")
FORMS = {
    (b"RIFF", b"WAVE"): _WAVE,
    (b"RF64", b"WAVE"): _WAVE,
    (b"BW64", b"WAVE"): _WAVE,
    (b"FORM", b"AIFF"): _AIFF,
    (b"FORM", b"AIFC"): _AIFF,
}
"""First and third word of a file to its form."""
_CAF = _Form(">4sq", b"data", begin=8, aligned=False)
AU = {b".snd": ">II", b"dns.": "<II"}
"""First word of an AU file to the layout of the place and length of its samples."""


def count_left_out(file: BinaryIO) -> int:
    """Return how many bytes behind the samples belong to nothing that a header names.

    They are samples where the header counts too few. Further chunks, zeros and appended tags do
    not count. Negative: by so many bytes the file ends before the samples that are counted. 0 for
    other formats, and where the header leaves the number of samples open.

    Args:
        file: Open at any place; its place changes.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if layout := AU.get(head[:4]):
        return _count_behind_au(file, head, layout, size)
    form = _CAF if head[:4] == b"caff" else FORMS.get((head[:4], head[8:12]))
    if form is None:
        return 0
    place, found, long = form.begin, False, 0
    while (chunk := _read_head(file, place, form.layout)) is not None:
        name, length = chunk
        if name == b"ds64":
            long = _read_long(file)
        if name == form.samples:
            # RF64 and BW64 have the length of what is too long for 32 bits in an earlier chunk.
            length = long if long and length == NOT_HERE else length
            if found or length <= 0 or (STREAMED <= length <= NOT_HERE and not long):
                return size - place if found else 0  # a second one counts as left out
            found = True
            end = place + struct.calcsize(form.layout) + length
            if end > size:
                return size - end
        elif found and not _is_chunk(name, length, size - place - struct.calcsize(form.layout)):
            break
        place += struct.calcsize(form.layout) + length
        # the next one begins at an even place
        if form.aligned and length % 2 and not _is_named(file, place):
            place += 1
    return _count_rest(file, place, size) if found else 0


def _count_behind_au(file: BinaryIO, head: bytes, layout: str, size: int) -> int:
    """Return what :func:`count_left_out` does of an AU file, which has one piece of samples."""
    if len(head) < 12:
        return 0
    begin, length = struct.unpack(layout, head[4:])
    if length == 0 or length >= STREAMED:
        return 0
    end = begin + length
    return size - end if end > size else _count_rest(file, end, size)


def _count_rest(file: BinaryIO, place: int, size: int) -> int:
    """Return how many bytes there are from a place to the end, 0 where they are filler."""
    return size - place if place < size and not _is_filler(file, place) else 0


def _read_long(file: BinaryIO) -> int:
    """Return the length of the samples in a ``ds64``, behind whose head the file stands.

    0 where it leaves it open, as a program does that writes to a pipe.
    """
    body = file.read(16)
    return max(0, struct.unpack("<Qq", body)[1]) if len(body) == 16 else 0


def _read_head(file: BinaryIO, place: int, layout: str) -> tuple[bytes, int] | None:
    """Return the name and length of the chunk at a place; None at the end of the file."""
    file.seek(place)
    head = file.read(struct.calcsize(layout))
    if len(head) < struct.calcsize(layout):
        return None
    name, length = struct.unpack(layout, head)
    return name, length


def _is_chunk(name: bytes, length: int, left: int) -> bool:
    """Return whether a name and a length look like those of a chunk."""
    return all(0x20 <= byte < 0x7F for byte in name) and 0 <= length <= left


def _is_named(file: BinaryIO, place: int) -> bool:
    """Return whether four letters stand at a place."""
    file.seek(place)
    name = file.read(4)
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)


def _is_filler(file: BinaryIO, place: int) -> bool:
    """Return whether what follows is a tag, or zeros."""
    file.seek(place)
    rest = file.read()
    return rest.startswith(TAGS) or not rest.strip(b"\0")
