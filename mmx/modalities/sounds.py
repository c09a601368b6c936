"""From a sound file, or its bytes, to mono samples in [-1, 1]; what may be wrong is refused."""

from __future__ import annotations

import io
import re

import numpy as np
import numpy.typing as npt
import soundfile

from mmx.errors import DataError
from mmx.modalities.files import FileOrBytes, make_unreadable_error, name_file

UNKNOWN_LENGTH = 2**40
"""Frames from which on a header does not know its length: libsndfile then says 2**63 - 1."""

DOUBTFUL = 16
"""Frames a byte of the file from which on they are counted, since the header may be damaged."""

STREAMED = 0x7FFF0000
"""Bytes of samples from which on a header was written before their number was known."""

FRAMES_AT_ONCE = 65536  # frames
LOUDEST = 2.0  # lossy sounds are decoded to a little above full scale, seldom to twice of it
BEYOND = 0.01  # part of the samples that may lie above full scale
EMPTY_FILE = 512  # bytes that a header alone may take
LOSSY_SHORTFALL = 0.9  # the length of an MP3 is an estimate


class _Sound(soundfile.SoundFile):  # type: ignore[misc]
    """A file read from start to end: seeking fails where the length is not known."""

    def seekable(self) -> bool:
        return False


def count_frames(source: FileOrBytes, row: int) -> tuple[int, int]:
    """Return length in frames and rate in Hz, from the header where that can be right."""
    with _open(source, row) as sound:
        frames = int(sound.frames)
        if frames > DOUBTFUL * _size(source):
            frames = len(_samples(sound, source, row))
        return frames, int(sound.samplerate)


def read_sound(source: FileOrBytes, row: int) -> tuple[npt.NDArray[np.float32], int]:
    """Return mono samples, ``(S,)``, and their rate in Hz.

    Raises:
        DataError: The file is of no known kind, cut off or damaged, holds NaN or infinity,
            or is not in the scale of floating-point sound, where 1.0 is the loudest.
    """
    with _open(source, row) as sound:
        samples = _samples(sound, source, row)  # (S, channels)
        problem = _damage(sound, len(samples), _size(source))
        if problem:
            raise make_unreadable_error("sound", source, row, problem)
        check_scale(samples, source, row)
        return samples.mean(axis=1), int(sound.samplerate)


def check_scale(samples: npt.NDArray[np.floating], source: FileOrBytes | None, row: int) -> None:
    """Refuse samples that are not finite, or not in [-1, 1].

    Raises:
        DataError: With the row, and the file where it is one.
    """
    name = f"row {row + 1}: sound{'' if source is None else f' {name_file(source)}'}"
    good = np.isfinite(samples)
    if not good.all():
        count, first = int((~good).sum()), int(np.argwhere(~good)[0][0]) + 1
        raise DataError(
            f"{name}: {count} of {samples.size} samples are NaN or infinite, the first is {first}",
            tip="replace the file or remove the row (rows count from 1)",
        )
    loud = np.abs(samples)
    peak = float(loud.max(initial=0))
    part = float((loud > 1).mean()) if samples.size else 0.0
    if peak > LOUDEST or part > BEYOND:
        raise DataError(
            f"{name}: {part:.0%} of the samples lie beyond full scale (±1), up to {peak:g}",
            tip="divide its samples by 32768 where they are in the scale of 16-bit integers, and "
            "save it again",
        )


def _open(source: FileOrBytes, row: int) -> _Sound:
    try:
        return _Sound(io.BytesIO(source) if isinstance(source, bytes) else str(source))
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        raise make_unreadable_error("sound", source, row, _why(error)) from error


def _samples(sound: _Sound, source: FileOrBytes, row: int) -> npt.NDArray[np.float32]:
    """Return all that can be decoded, ``(S, channels)``."""
    known = int(sound.frames) <= DOUBTFUL * _size(source)
    parts = []
    try:
        while True:
            frames = int(sound.frames) if known else FRAMES_AT_ONCE
            parts.append(sound.read(frames, dtype="float32", always_2d=True))
            if known or len(parts[-1]) < FRAMES_AT_ONCE:
                break
    except (soundfile.SoundFileError, OSError, ValueError, MemoryError) as error:
        raise make_unreadable_error("sound", source, row, _why(error)) from error
    whole: npt.NDArray[np.float32] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return whole


def _damage(sound: _Sound, read: int, size: int) -> str | None:
    """Return what is wrong with a file that could be decoded in part, or None."""
    expected = int(sound.frames)
    least = expected * LOSSY_SHORTFALL if sound.format in ("MP3", "MPEG") else expected
    if expected < UNKNOWN_LENGTH and read < least:
        return f"it is cut off: its header says {expected} samples, {read} can be read"
    if read == 0 and size > EMPTY_FILE:
        return f"its {size} bytes hold no sample that can be read"
    log = str(sound.extra_info)
    for said, there in re.findall(
        r"(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", log
    ):
        if int(there) < int(said) < STREAMED:
            return f"it is cut off: its header says {said} bytes of samples, the file has {there}"
    left = re.search(r"at position (\d+)\. Exiting parser", log)
    if left and size - int(left[1]) > int(left[1]):
        return f"its header leaves out {size - int(left[1])} of the file's {size} bytes"
    return None


def _size(source: FileOrBytes) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def _why(error: Exception) -> str:
    """Return the reason without the path, which the message already has."""
    if isinstance(error, soundfile.LibsndfileError):
        return str(error.error_string)
    return str(error)
