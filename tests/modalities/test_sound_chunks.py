"""What stands behind the samples that a header counts: samples, or chunks, tags and zeros."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
from refusals import check_error

from mmx.errors import DataError
from mmx.modalities.sound_chunks import count_left_out
from mmx.modalities.sounds import read_sound

SAMPLES = (0.4 * np.sin(2 * np.pi * 440 * np.arange(4001) / 8000)).astype("f4")


def make(form: str = "WAV", subtype: str = "PCM_16", counted: int | None = None) -> bytes:
    """Return a sound, whose header counts other bytes of samples than there are."""
    file = io.BytesIO()
    soundfile.write(file, SAMPLES, 8000, format=form, subtype=subtype)
    content = bytearray(file.getvalue())
    if counted is not None:
        place = content.index(b"data" if form == "WAV" else b"SSND") + 4
        struct.pack_into("<I" if form == "WAV" else ">I", content, place, counted)
    return bytes(content)


@pytest.mark.parametrize("counted", [6000, 6001, 7000, 7900])
def test_a_header_that_counts_too_few_samples_is_refused(counted):
    content = make(counted=counted)
    with pytest.raises(DataError) as error:
        read_sound(content, 0)
    left = len(content) - 44 - counted - (counted % 2)
    check_error(error.value, "row 1", f"leaves out {left} of the file's {len(content)} bytes")


@pytest.mark.parametrize(
    "behind",
    [
        b"",
        b"\0" * 3000,
        b"TAG" + b" " * 125,
        b"ID3\x03\0\0\0\0\x10\0" + b"picture" * 400,
        b"APETAGEX" + b"\x01\x02" * 200,
        b"LIST" + struct.pack("<I", 4) + b"INFO",
        b"LIST" + struct.pack("<I", 4) + b"INFO" + b"id3 " + struct.pack("<I", 3) + b"abc\0",
        b"\x01\x02\x03" * 20,
    ],
    ids=["nothing", "zeros", "ID3v1", "ID3v2", "APE", "chunk", "chunks", "60 bytes"],
)
def test_chunks_zeros_and_tags_may_follow(behind):
    samples, _ = read_sound(make() + behind, 0)
    np.testing.assert_allclose(samples, SAMPLES, atol=2**-15)


@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        ("WAV", "PCM_U8"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "ALAW"),
        ("WAV", "IMA_ADPCM"), ("WAVEX", "PCM_16"), ("AIFF", "PCM_16"), ("AIFF", "PCM_S8"),
        ("AIFF", "FLOAT"), ("AIFF", "ULAW"), ("RF64", "PCM_16"), ("W64", "PCM_16"),
        ("AU", "PCM_16"), ("CAF", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"),
    ],
)  # fmt: skip
def test_whole_files_leave_nothing_out(form, subtype):
    content = make(form, subtype)
    assert count_left_out(io.BytesIO(content)) == 0
    assert len(read_sound(content, 0)[0]) >= len(SAMPLES)


def test_an_odd_chunk_may_lack_its_padding():
    odd = b"note" + struct.pack("<I", 3) + b"abc"
    content = make()
    place = content.index(b"data")
    whole = content[:place] + odd + content[place:] + odd + b"LIST" + struct.pack("<I", 0)
    assert count_left_out(io.BytesIO(whole)) == 0


def test_a_second_chunk_of_samples_is_left_out():
    content = make()
    more = b"data" + struct.pack("<I", 2000) + b"\x01" * 2000
    assert count_left_out(io.BytesIO(content + more)) == len(more)


def test_of_aiff_the_rest_is_counted_too():
    content = make("AIFF", counted=6000)
    assert count_left_out(io.BytesIO(content)) == len(content) - content.index(b"SSND") - 8 - 6000


def test_an_open_number_of_samples_leaves_nothing_out():
    for counted in (0, 0xFFFFFFFF):
        assert count_left_out(io.BytesIO(make(counted=counted))) == 0
    assert len(read_sound(make(counted=0xFFFFFFFF), 0)[0]) == len(SAMPLES)


HEADERS = {
    "RF64": ("<Q", lambda content: content.index(b"ds64") + 16),
    "AU": (">I", lambda content: 8),
    "CAF": (">q", lambda content: content.index(b"data") + 4),
}
"""Format to the layout and place of the number of bytes that its header counts."""


def make_other(form: str, more: int) -> bytes:
    """Return a sound whose header counts so many bytes more than there are."""
    layout, find = HEADERS[form]
    content = bytearray(make(form))
    (own,) = struct.unpack_from(layout, content, find(content))
    struct.pack_into(layout, content, find(content), own + more)
    return bytes(content)


@pytest.mark.parametrize("form", HEADERS)
def test_other_headers_that_count_too_few_samples_are_refused(form):
    content = make_other(form, -2000)
    assert count_left_out(io.BytesIO(content)) == 2000
    with pytest.raises(DataError) as error:
        read_sound(content, 0)
    check_error(error.value, "row 1", f"leaves out 2000 of the file's {len(content)} bytes")


@pytest.mark.parametrize("form", HEADERS)
def test_other_headers_that_count_too_many_samples_are_refused(form):
    content = make_other(form, 2000)
    assert count_left_out(io.BytesIO(content)) == -2000
    with pytest.raises(DataError, match="it is cut off"):
        read_sound(content, 0)


def test_rf64_that_ends_early_is_refused():
    content = make("RF64")[:-2026]
    with pytest.raises(DataError) as error:
        read_sound(content, 0)
    cut = f"it is cut off: its header counts 2026 bytes more than the file's {len(content)}"
    check_error(error.value, "row 1", cut)


@pytest.mark.parametrize("form", HEADERS)
@pytest.mark.parametrize("behind", [b"", b"\0" * 3000, b"TAG" + b" " * 125])
def test_tags_and_zeros_may_follow_other_formats(form, behind):
    samples, _ = read_sound(make(form) + behind, 0)
    np.testing.assert_allclose(samples[: len(SAMPLES)], SAMPLES, atol=2**-15)


@pytest.mark.parametrize(
    ("form", "counted"), [("RF64", 0), ("RF64", 2**64 - 1), ("AU", 2**32 - 1), ("CAF", -1)]
)
def test_other_open_numbers_of_samples_leave_nothing_out(form, counted):
    layout, find = HEADERS[form]
    content = bytearray(make(form))
    struct.pack_into(layout, content, find(content), counted)
    assert count_left_out(io.BytesIO(content)) == 0
