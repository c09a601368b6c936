"""Decoding a sound file, or its bytes, to mono samples in [-1, 1]; doubtful files are refused."""

from __future__ import annotations

import io
import math
import re

import numpy as np
import numpy.typing as npt
import soundfile

from mmx.errors import DataError
from mmx.modalities.channels import refuse_cancelled
from mmx.modalities.clips import count_track_samples, is_container, read_track
from mmx.modalities.files import (
    UNUSABLE_TIP,
    FileOrBytes,
    RowName,
    count_bytes,
    make_unreadable_error,
    name_file,
    name_row,
)
from mmx.modalities.members import Member
from mmx.modalities.sound_chunks import STREAMED, count_left_out

UNKNOWN_LENGTH = 2**40
"""Number of frames from which the length is unknown; libsndfile reports 2**63 - 1 then."""

DOUBTFUL = 16
"""Frames per byte of the file above which frames are counted, since the header may be damaged."""

FRAMES_AT_ONCE = 65536  # frames
LOUDEST = 2.0  # largest accepted sample; lossy sounds are decoded to a little above full scale
INTEGERS = 64.0  # a peak above which samples are in the scale of integers
BEYOND = 0.01  # largest accepted fraction of samples above full scale
TRAILING = 64  # bytes behind the samples that may be there for no reason, 4 ms of 8 kHz
EMPTY_FILE = 512  # bytes; a file of this size may consist of a header only
LOSSY_SHORTFALL = 0.9  # fraction of the stated length to accept, an estimate in an MP3


class _Sound(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from start to end, since seeking fails if the length is unknown."""

    def seekable(self) -> bool:
        return False


def count_frames(source: FileOrBytes, row: RowName) -> tuple[int, int]:
    """Return length in frames and rate in Hz, from the header if that is plausible."""
    if is_container(source):
        samples, rate = read_track(source, row)
        return len(samples), rate
    with _open(source, row) as sound:
        frames = int(sound.frames)
        if frames > DOUBTFUL * count_bytes(source):
            frames = len(_decode(sound, source, row))
        return frames, int(sound.samplerate)


def holds_more(source: FileOrBytes, row: RowName, most: int) -> bool:
    """Return whether a sound has more samples than ``most``, over all its channels.

    No more than that is decoded: a small file can unfold to fill the memory. A container is
    taken by its word.

    Raises:
        DataError: The file cannot be opened.
    """
    if is_container(source):
        return count_track_samples(source, row) > most
    with _open(source, row) as sound:
        channels, frames = int(sound.channels), int(sound.frames)
        if frames < UNKNOWN_LENGTH:
            return frames * channels > most
        count = 0
        while count <= most:
            read = len(sound.read(FRAMES_AT_ONCE, dtype="float32", always_2d=True))
            count += read * channels
            if read < FRAMES_AT_ONCE:
                break
        return count > most


def read_sound(
    source: FileOrBytes, row: RowName, channel: int | None = None
) -> tuple[npt.NDArray[np.float32], int]:
    """Return mono samples, ``(S,)``, and their rate in Hz.

    Args:
        source: The file, or its content.
        row: The row, for messages.
        channel: Which channel is read, from 1; None: their mean.

    Raises:
        DataError: The file is of an unknown format, truncated or damaged, contains NaN or
            infinity, is not in the scale of floating-point sound, with full scale at 1.0, has not
            so many channels, or has channels that cancel each other.
    """
    if is_container(source):  # which libsndfile cannot read
        track, rate = read_track(source, row, channel)
        check_scale(track, source, row)
        return track, rate
    with _open(source, row) as sound:
        samples = _decode(sound, source, row)  # (S, channels)
        size = count_bytes(source)
        problem = _find_damage(sound, len(samples), size) or _find_left_out(source, size)
        if problem:
            raise make_unreadable_error("sound", source, row, problem)
        check_scale(samples, source, row)
        return _mix_channels(samples, source, row, channel), int(sound.samplerate)


def _mix_channels(
    samples: npt.NDArray[np.float32], source: FileOrBytes, row: RowName, channel: int | None
) -> npt.NDArray[np.float32]:
    """Return one channel of samples ``(S, channels)``, or the mean of all.

    Raises:
        DataError: There is no such channel, or the mean is silence and the channels are not.
    """
    count = samples.shape[1]
    if channel is not None:
        if channel > count:
            why = f"it has {count} channel{'s' * (count > 1)}, and channel={channel} was asked for"
            raise make_unreadable_error("sound", source, row, why)
        return samples[:, channel - 1]
    mixed: npt.NDArray[np.float32] = samples.mean(axis=1)
    if count > 1 and len(samples):
        before, after = float(np.square(samples).mean()), float(np.square(mixed).mean())
        refuse_cancelled(before, after, count, source, row)
    return mixed


def check_scale(
    samples: npt.NDArray[np.floating], source: FileOrBytes | None, row: RowName
) -> None:
    """Refuse samples that are not finite or clearly exceed [-1, 1].

    Raises:
        DataError: They do; the message names the row, and the file if there is one.
    """
    name = f"{name_row(row)}: sound{'' if source is None else f' {name_file(source)}'}"
    good = np.isfinite(samples)
    if not good.all():
        count, first = int((~good).sum()), int(np.argwhere(~good)[0][0]) + 1
        raise DataError(
            f"{name}: {count} of {samples.size} samples are NaN or infinite, the first is {first}",
            tip=UNUSABLE_TIP,
        )
    loud = np.abs(samples)
    peak = float(loud.max(initial=0))
    part = float((loud > 1).mean()) if samples.size else 0.0
    if peak > LOUDEST or part > BEYOND:
        raise DataError(
            f"{name}: {part:.0%} of the samples exceed full scale (±1), up to {peak:g}",
            tip=_advise_scale(peak),
        )


def _advise_scale(peak: float) -> str:
    """Return what to do about samples beyond full scale."""
    if peak > INTEGERS:
        return (
            "divide its samples by 32768 if they are in the scale of 16-bit integers, and save it "
            "again"
        )
    return f"divide its samples by {math.ceil(peak * 100) / 100:g}, and save it again"


def _open(source: FileOrBytes, row: RowName) -> _Sound:
    try:
        if isinstance(source, Member):
            source = source.read_bytes()
        return _Sound(io.BytesIO(source) if isinstance(source, bytes) else str(source))
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        raise make_unreadable_error("sound", source, row, _explain(error)) from error


def _decode(sound: _Sound, source: FileOrBytes, row: RowName) -> npt.NDArray[np.float32]:
    """Return all samples that can be decoded, ``(S, channels)``."""
    known = int(sound.frames) <= DOUBTFUL * count_bytes(source)
    # A doubtful number of frames is not allocated at once.
    parts = []
    try:
        while True:
            frames = int(sound.frames) if known else FRAMES_AT_ONCE
            parts.append(sound.read(frames, dtype="float32", always_2d=True))
            if known or len(parts[-1]) < FRAMES_AT_ONCE:
                break
    except (soundfile.SoundFileError, OSError, ValueError, MemoryError) as error:
        raise make_unreadable_error("sound", source, row, _explain(error)) from error
    whole: npt.NDArray[np.float32] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return whole


def _find_damage(sound: _Sound, read: int, size: int) -> str | None:
    """Return what is wrong with a file of which ``read`` frames could be decoded, or None."""
    expected = int(sound.frames)
    least = expected * LOSSY_SHORTFALL if sound.format in ("MP3", "MPEG") else expected
    if expected < UNKNOWN_LENGTH and read < least:
        return f"it is cut off: its header says {expected} samples, {read} can be read"
    if read == 0 and size > EMPTY_FILE:
        return f"its {size} bytes hold no sample that can be read"
    # libsndfile repairs a wrong header silently, but its log tells of it.
    log = str(sound.extra_info)
    for stated, actual in re.findall(
        r"(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", log
    ):
        if int(actual) < int(stated) < STREAMED:
            return (
                f"it is cut off: its header says {stated} bytes of samples, the file has {actual}"
            )
    left = re.search(r"at position (\d+)\. Exiting parser", log)
    if left and size - int(left[1]) > int(left[1]):
        return f"its header leaves out {size - int(left[1])} of the file's {size} bytes"
    return None


def _find_left_out(source: FileOrBytes, size: int) -> str | None:
    """Return that a header counts fewer samples than the file has, or more, or None."""
    content = source.read_bytes() if isinstance(source, Member) else source
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        left = count_left_out(file)
    if left < 0:
        return f"it is cut off: its header counts {-left} bytes more than the file's {size}"
    if left <= TRAILING:
        return None
    return f"its header leaves out {left} of the file's {size} bytes"


def _explain(error: Exception) -> str:
    """Return the reason without the path, which is already in the message."""
    if isinstance(error, soundfile.LibsndfileError):
        return str(error.error_string)
    return str(error)
