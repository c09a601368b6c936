"""Sounds: stored as mono int16, given to encoders as floats in [-1, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor
from torchaudio.functional import resample
from typing_extensions import Self

from mmx.errors import DataError
from mmx.modalities.base import (
    Modality,
    RowNumbers,
    Spec,
    Stored,
    as_rows,
    join_rows,
)
from mmx.modalities.clips import has_sound
from mmx.modalities.files import FileOrBytes, call_each, read_file
from mmx.modalities.members import Member
from mmx.modalities.row_groups import MUCH_LONGER
from mmx.modalities.sounds import check_scale, count_frames, read_sound
from mmx.modalities.source_column import SourceColumn
from mmx.modalities.suffixes import VIDEOS

FULL_SCALE = 32768  # the int16 value that represents 1.0

SAMPLED = 64
"""Number of training sounds, evenly spaced, that are looked at for remarks."""
LISTENED = 120.0
"""Seconds of the training sounds that are decoded for remarks, at most."""
NonNegative = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]


@dataclass(frozen=True)
class AudioSpec(Spec):
    """The sample rate and the maximum length of all recordings.

    Attributes:
        sample_rate: Samples per second, in Hz.
        max_samples: Every row is padded or cut to this many samples.
    """

    sample_rate: int
    max_samples: int


class AudioColumn(SourceColumn):
    """Recordings as files, as their content, or as an array.

    Args:
        recordings: For each row a path, or the bytes of a file, or None where it has no sound;
            or an array ``(N, S)`` of int16, or of floats in [-1, 1].
        sample_rate: Sample rate of the array, in Hz; files state their own.

    Raises:
        ValueError: An array is given without a sample rate, or files with one.
    """

    what = "sound"

    def __init__(
        self,
        recordings: Sequence[FileOrBytes | None] | npt.NDArray[np.int16] | npt.NDArray[np.floating],
        *,
        sample_rate: int | None = None,
    ) -> None:
        if isinstance(recordings, np.ndarray) != (sample_rate is not None):
            raise ValueError("`sample_rate` belongs to an array of samples, and only to one")
        super().__init__(recordings)
        self.recordings = recordings
        self.sample_rate = sample_rate

    def stack(self, others: Sequence[Self]) -> Self:
        """Return a column with the rows of others after those of this one."""
        rows = join_rows([self.recordings, *(each.recordings for each in others)])
        return type(self)(rows, sample_rate=self.sample_rate)

    def digest(self, row: int) -> bytes:
        """Return the bytes of the file, or of sample rate and samples."""
        recording = self.recordings[row]
        if recording is None:
            return b""
        if isinstance(recording, FileOrBytes):
            return read_file("sound", recording, self.name_row(row))
        return str(self.sample_rate).encode() + np.asarray(recording).tobytes()

    @classmethod
    def is_in(cls, path: Path) -> bool:
        """Return False for a video without a sound track; reading a broken one will name it."""
        if path.suffix.lower() not in VIDEOS:
            return True
        try:
            return has_sound(path, 0)
        except DataError:
            return True

    def measure(self, row: int) -> tuple[int, int]:
        """Return the length in samples and the rate in Hz, if possible from the header."""
        recording = self.recordings[row]
        if isinstance(recording, FileOrBytes):
            return count_frames(recording, self.name_row(row))
        return len(np.asarray(recording)), self.sample_rate or 0

    def read(self, row: int, channel: int | None = None) -> tuple[npt.NDArray[np.float32], int]:
        """Return mono samples in [-1, 1], ``(S,)``, and their rate in Hz.

        Args:
            row: Row number.
            channel: Of a file, which channel is read, from 1; None: the mean of all.
        """
        recording = self.recordings[row]
        if isinstance(recording, FileOrBytes):
            return read_sound(recording, self.name_row(row), channel)
        samples = np.asarray(recording)
        if samples.dtype == np.int16:
            return samples.astype(np.float32) / np.float32(FULL_SCALE), self.sample_rate or 0
        check_scale(samples, None, self.name_row(row))
        return samples.astype(np.float32), self.sample_rate or 0


def find_channel(reader: Modality[Any, Any] | None) -> int | None:
    """Return which channel a reader takes; None for the mean, also where it is not known."""
    return reader.channel if isinstance(reader, Audio) else None


class Audio(Modality[AudioColumn, AudioSpec]):
    """Mono recordings of one sample rate and one length.

    Use it for a column of sound files or for an array of samples.

    Args:
        sample_rate: In Hz; recordings of other rates are resampled.
        max_seconds: Longer recordings are cut at the end. None: the length of the longest
            training recording.
        channel: Which channel of a file is read, from 1. None: the mean of all.
        shift: In training, shift each recording in time by up to this many seconds, earlier or
            later; the gap is filled with silence.
        gain: In training, change the loudness of each recording by up to this many dB.
    """

    name = "audio"
    streams = True
    column_type = AudioColumn

    def __init__(
        self,
        *,
        sample_rate: Annotated[int, Field(ge=100, le=1_000_000)] = 16000,
        max_seconds: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] | None = None,
        shift: NonNegative = 0.0,
        gain: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 0.0,
        channel: Annotated[int, Field(ge=1, le=1024)] | None = None,
    ) -> None:
        self.sample_rate = sample_rate
        self.channel = channel
        self.max_seconds = max_seconds
        self.shift = shift
        self.gain = gain

    def fit(self, column: AudioColumn, rows: RowNumbers) -> AudioSpec:
        """Return the configured length, or the length of the longest training recording."""
        if self.max_seconds is not None:
            return AudioSpec(self.sample_rate, max(1, round(self.max_seconds * self.sample_rate)))
        longest = 0
        for row in as_rows(rows):
            if column.present[row]:
                frames, rate = column.measure(int(row))
                # rounded up, so that the longest one is not cut by a sample
                longest = max(longest, math.ceil(frames * self.sample_rate / rate))
        if longest == 0:
            raise DataError(
                "max_seconds=null takes the longest training recording, "
                "but no training row has any sound",
                tip="give the audio a max_seconds, such as 1.0",
            )
        return AudioSpec(self.sample_rate, longest)

    def encode(self, column: AudioColumn, rows: RowNumbers, spec: AudioSpec) -> Stored:
        """Return ``(B, S)`` int16, zeros after the end; an empty file is one silent sample."""
        rows = as_rows(rows)
        values = np.zeros((len(rows), spec.max_samples), dtype=np.int16)
        lengths = np.zeros(len(rows), dtype=np.int64)

        def decode(i: int) -> None:
            row = int(rows[i])
            if not column.present[row]:
                return
            samples, rate = column.read(row, self.channel)
            if rate != spec.sample_rate and len(samples):
                samples = resample(torch.from_numpy(samples), rate, spec.sample_rate).numpy()
            samples = samples[: spec.max_samples]
            # 1.0 would be 32768, one more than int16 can hold.
            scaled = np.rint(samples * FULL_SCALE).clip(-FULL_SCALE, FULL_SCALE - 1)
            values[i, : len(samples)] = scaled
            lengths[i] = max(1, len(samples))  # 0 would mean that the row lacks the modality

        call_each(decode, len(rows))
        return Stored(torch.from_numpy(values), torch.from_numpy(lengths))

    def example(self) -> AudioSpec:
        """Return a spec of the configured length, or of one second."""
        return AudioSpec(self.sample_rate, int(self.sample_rate * (self.max_seconds or 1.0)))

    def other_scale(self, spec: AudioSpec, source: AudioSpec) -> str | None:
        """Return a sentence on the sample rates if they differ; see :class:`Modality`."""
        if spec.sample_rate == source.sample_rate:
            return None
        return (
            f"the source's sounds have {source.sample_rate} Hz, the target's "
            f"{spec.sample_rate} Hz, and an encoder's bands reach up to half of that: "
            f"target.audio.sample_rate={source.sample_rate} or "
            f"source.audio.sample_rate={spec.sample_rate} makes them alike"
        )

    def remarks(self, column: AudioColumn, rows: RowNumbers, spec: AudioSpec) -> tuple[str, ...]:
        """Return notes on silent sounds, and on one that is far longer than the others."""
        rows = as_rows(rows)
        rows = rows[column.present[rows]]
        # Evenly spaced places, without the duplicates that rounding makes of few rows.
        places = np.unique(np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).round())
        some = rows[places.astype(np.int64)].tolist()
        try:
            found = [column.measure(row) for row in some]
            silent, heard = self._count_silent(column, some, found)
        except DataError:  # decoding the row will raise it
            return ()
        if not found:
            return ()
        notes = []
        if silent:
            notes.append(
                f"audio: {silent} of {heard} training sounds listened to are silent: all of their "
                "samples are zero, or below the smallest step of 16 bits"
            )
        if empty := sum(not frames for frames, _ in found):
            notes.append(
                f"audio: {empty} of {len(found)} training sounds looked at have no samples and are "
                "read as silence"
            )
        usual = float(np.median([frames / rate for frames, rate in found]))
        longest = spec.max_samples / spec.sample_rate
        if self.max_seconds is None and longest > MUCH_LONGER * usual:
            notes.append(
                f"audio: the longest training sound has {longest:.1f} s, and half of "
                f"{len(found)} looked at have at most {usual:.2f} s; "
                f"target.audio.max_seconds={max(0.01, 2 * usual):.2f} cuts such sounds"
            )
        return tuple(notes)

    def _count_silent(
        self, column: AudioColumn, rows: Sequence[int], found: Sequence[tuple[int, int]]
    ) -> tuple[int, int]:
        """Return how many sounds with samples are silent as they are stored, and of how many.

        Args:
            column: The sounds.
            rows: Some rows of them.
            found: Length in samples and rate in Hz of each.
        """
        silent, heard, seconds = 0, 0, 0.0
        for row, (frames, rate) in zip(rows, found, strict=True):
            if not frames or seconds + frames / rate > LISTENED:
                continue
            seconds += frames / rate
            heard += 1
            samples, _ = column.read(row, self.channel)
            silent += not np.rint(samples * FULL_SCALE).any()
        return silent, heard

    def estimate_lengths(self, column: AudioColumn, rows: RowNumbers) -> npt.NDArray[np.int64]:
        """Return the size of each recording as it is stored; see :class:`Modality`."""

        def size(recording: object) -> int:
            if isinstance(recording, Path):
                return recording.stat().st_size
            if isinstance(recording, Member):
                return recording.size
            return 0 if recording is None else len(recording)  # type: ignore[arg-type]

        return np.array([size(column.recordings[int(row)]) for row in as_rows(rows)], np.int64)

    def bytes_per_row(self, spec: AudioSpec) -> int:
        """Return two bytes for each sample, and eight for the length."""
        return 2 * spec.max_samples + 8

    @property
    def augments(self) -> bool:
        """Whether recordings are shifted or made louder and softer."""
        return self.shift > 0 or self.gain > 0

    def augment(self, stored: Stored) -> Stored:
        """Return each recording shifted in time and changed in loudness."""
        # The shift is drawn before the gain: another order would change what a seed gives.
        values, lengths = stored.values, stored.lengths  # (B, S), (B,)
        batch, samples = values.shape
        device = values.device
        # a longer shift would leave nothing of the recording
        most = min(round(self.shift * self.sample_rate), samples - 1)
        if most and lengths is not None:
            shift = torch.randint(-most, most + 1, (batch, 1), device=device)
            origin = torch.arange(samples, device=device) - shift  # (B, S), where to read from
            # gather needs indices inside; what lies outside is read anyway and silenced here.
            inside = (origin >= 0) & (origin < samples)
            values = values.gather(1, origin.clamp(0, samples - 1)) * inside
            # At least one sample: a length of 0 would mean that the row lacks the modality.
            moved = (lengths + shift.squeeze(1)).clamp(1, samples)
            lengths = torch.where(lengths > 0, moved, lengths)  # absent rows keep length 0
        if self.gain:
            # uniform in decibels, (B, 1)
            decibels = (torch.rand(batch, 1, device=device) * 2 - 1) * self.gain
            louder = values * 10 ** (decibels / 20)  # to float: the product of int16 and float32
            values = louder.round_().clamp_(-FULL_SCALE, FULL_SCALE - 1).to(torch.int16)
        return Stored(values, lengths)

    def prepare(self, stored: Stored, spec: AudioSpec) -> Tensor:
        """Return ``(B, S)`` float32 in [-1, 1]."""
        # in place: `to` has made a copy already
        return stored.values.to(torch.float32).div_(FULL_SCALE)
