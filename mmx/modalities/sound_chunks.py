"""The chunks of WAV and AIFF files: what stands behind the samples that a header counts.

Reference: Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft 1991);
Audio Interchange File Format AIFF (Apple 1989).
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

STREAMED = 0x7FFF0000
"""Bytes of samples in a header that was written before their number was known, at least."""
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")
"""How tags of other formats begin, which some programs append."""
FORMS = {
    (b"RIFF", b"WAVE"): ("<4sI", b"data"),
    (b"FORM", b"AIFF"): (">4sI", b"SSND"),
    (b"FORM", b"AIFC"): (">4sI", b"SSND"),
}
"""First and third word of a file to the layout of a chunk's head, and the name of the samples."""


def count_left_out(file: BinaryIO) -> int:
    """Return how many bytes behind the samples belong to nothing that a header names.

    They are samples where the header counts too few. Further chunks, zeros and appended tags do
    not count. 0 for other formats, and where the header leaves the number of samples open.

    Args:
        file: Open at any place; its place changes.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    layout, samples = FORMS.get((head[:4], head[8:12]), ("", b""))
    if not layout:
        return 0
    place, found = 12, False
    while (chunk := _read_head(file, place, layout)) is not None:
        name, length = chunk
        if name == samples:
            if found or length == 0 or length >= STREAMED:  # a second one counts as left out
                return size - place if found else 0
            found = True
        elif found and not _is_chunk(name, length, size - place - 8):
            break
        place += 8 + length
        if length % 2 and not _is_named(file, place):  # the next one begins at an even place
            place += 1
    return size - place if found and place < size and not _is_filler(file, place) else 0


def _read_head(file: BinaryIO, place: int, layout: str) -> tuple[bytes, int] | None:
    """Return the name and length of the chunk at a place; None at the end of the file."""
    file.seek(place)
    head = file.read(8)
    if len(head) < 8:
        return None
    name, length = struct.unpack(layout, head)
    return name, length


def _is_chunk(name: bytes, length: int, left: int) -> bool:
    """Return whether a name and a length look like those of a chunk."""
    return all(0x20 <= byte < 0x7F for byte in name) and length <= left


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
