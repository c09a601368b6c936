"""Sounds that are alike: the same recording re-encoded, resampled, or at another gain.

The fingerprint of a sound is the lowest frequencies, over bands and over time, of the logarithm of
its energy in 16 bands from 100 to 3,400 Hz, without silence at its ends, less its mean and scaled,
so that a gain changes nothing. The pairs that it finds are compared as waveforms, by the largest
correlation over all shifts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import dctn
from torchaudio.functional import resample

from mmx.errors import DataError
from mmx.evaluation.near_duplicates.pairs import PairComparison
from mmx.evaluation.near_duplicates.search import RowIndices, find_candidates
from mmx.modalities import Modality
from mmx.modalities.audio import AudioColumn, find_channel
from mmx.modalities.files import call_each

SoundSamples = npt.NDArray[np.float32]

RATE = 8_000  # Hz at which sounds are compared
WINDOW, STEP = 256, 64  # samples
BANDS, TIMES = 16, 32
LOWEST_HZ, HIGHEST_HZ = 100.0, 3_400.0
QUIET = 40.0  # decibels below the loudest moment; quieter ends are left out
FLOOR = 60.0  # decibels below the loudest moment that count as silence
FREQUENCIES = 20
RADIUS, NEAREST = 0.6, 8
LENGTHS = 1.25
"""Largest ratio of the lengths of sounds that are alike, silence at their ends left out."""
LONGEST = 20.0  # seconds of a sound that are compared
ALIKE = 0.7
"""Smallest correlation of waveforms that are alike."""
SILENT = 1e-4  # of full scale


def compare_sounds(
    column: AudioColumn,
    reader: Modality[Any, Any] | None,
    searches: list[tuple[RowIndices, RowIndices]],
) -> PairComparison:
    """Return the pairs of rows with sounds that are alike; the distance is 1 − correlation.

    Args:
        column: The sounds.
        reader: How they are read; None: as usual. They are compared at a rate of this module.
        searches: Which rows are looked for among which.
    """
    rows = np.unique(np.concatenate([each for search in searches for each in search]))
    channel = find_channel(reader)
    made = _make_fingerprints(column, rows, channel)
    found = find_candidates(made.prints, made.known, searches, radius=RADIUS, most=NEAREST)
    ratios = np.abs(np.log(made.lengths[found.rows] / made.lengths[found.others]))
    of_one_length = ratios <= math.log(LENGTHS)
    mine, others = found.rows[of_one_length], found.others[of_one_length]
    correlations = np.array(
        [
            correlate_shifted(
                _read_at_rate(column, int(row), channel), _read_at_rate(column, int(other), channel)
            )
            for row, other in zip(mine, others, strict=True)
        ]
    )
    alike = correlations >= ALIKE
    return PairComparison.of(mine[alike], others[alike], 1 - correlations[alike], made.unreadable)


@dataclass(frozen=True)
class _Fingerprints:
    """What sounds are compared by at first, with a place for each row of a column.

    Attributes:
        prints: ``(N, F)``, of rows that are known.
        lengths: ``(N,)``, of rows that are known.
        known: ``(N,)``, False where a row has no sound, a silent or an unreadable one.
        unreadable: Row to why it cannot be read.
    """

    prints: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.float64]
    known: npt.NDArray[np.bool_]
    unreadable: dict[int, str]


def _make_fingerprints(
    column: AudioColumn, rows: npt.NDArray[np.int64], channel: int | None
) -> _Fingerprints:
    """Read some rows of a column, several at once."""
    count = len(column)
    found = _Fingerprints(
        np.zeros((count, FREQUENCIES)), np.zeros(count), np.zeros(count, dtype=np.bool_), {}
    )

    def read(place: int) -> None:
        row = int(rows[place])
        if not column.present[row]:
            return
        try:
            sound = _read_at_rate(column, row, channel)
        except DataError as error:
            found.unreadable[row] = error.message
            return
        made = make_fingerprint(sound)
        if made is not None:
            found.prints[row], found.lengths[row] = made
            found.known[row] = True

    call_each(read, len(rows))
    return found


def _read_at_rate(column: AudioColumn, row: int, channel: int | None) -> SoundSamples:
    samples, rate = column.read(row, channel)
    samples = samples[: int(LONGEST * rate)]
    if rate == RATE or not len(samples):
        return samples
    made: SoundSamples = resample(torch.from_numpy(samples), rate, RATE).numpy()
    return made


def make_fingerprint(sound: SoundSamples) -> tuple[npt.NDArray[np.float64], float] | None:
    """Return the ``(20,)`` fingerprint of a sound and its length in seconds without silent ends.

    None for silence.
    """
    if not len(sound) or float(np.abs(sound).max()) < SILENT:
        return None
    padded = np.pad(sound, WINDOW // 2)
    # Overlapping windows as a view, every STEP-th: (frames, WINDOW).
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)) ** 2
    bands = power @ _make_bands()  # (frames, 16)
    loudness = 10 * np.log10(bands.sum(1) + 1e-12)
    loud = np.flatnonzero(loudness >= loudness.max() - QUIET)
    decibels = 10 * np.log10(bands[loud[0] : loud[-1] + 1] + 1e-12)
    decibels = np.maximum(decibels, decibels.max() - FLOOR)
    places = np.linspace(0, len(decibels) - 1, TIMES)
    even = np.stack(
        [np.interp(places, np.arange(len(decibels)), band) for band in decibels.T], axis=1
    )
    low = dctn(even - even.mean(), norm="ortho")
    order = np.argsort([t + b for t in range(TIMES) for b in range(BANDS)], kind="stable")
    chosen = low.reshape(-1)[order[1 : FREQUENCIES + 1]]  # without entry 0, the mean
    return chosen / max(float(np.linalg.norm(low)), 1e-9), len(decibels) * STEP / RATE


def _make_bands() -> npt.NDArray[np.float64]:
    """Return ``(129, 16)``, which frequencies count in which band, evenly spaced in mel."""
    mel = np.linspace(_to_mel(LOWEST_HZ), _to_mel(HIGHEST_HZ), BANDS + 2)
    # Inverse of HTK's mel scale.
    edges = 700 * (10 ** (mel / 2595) - 1)
    hertz = np.fft.rfftfreq(WINDOW, 1 / RATE)
    columns = [
        np.interp(hertz, edges[band : band + 3], [0.0, 1.0, 0.0], left=0, right=0)
        for band in range(BANDS)
    ]
    # Above 0, so that a band between two bins of the transform has a logarithm.
    return np.stack(columns, axis=1) + 1e-9


def _to_mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def correlate_shifted(one: SoundSamples, other: SoundSamples) -> float:
    """Return the largest correlation of two sounds over all shifts, whatever their sign."""
    # Room for both, a power of two: circular correlation then does not wrap round.
    size = 1 << (len(one) + len(other) - 1).bit_length()
    product = np.fft.rfft(one, size) * np.conj(np.fft.rfft(other, size))
    scale = math.sqrt(float((one.astype(float) ** 2).sum() * (other.astype(float) ** 2).sum()))
    # |·|: a sound of inverted polarity sounds the same.
    return float(np.abs(np.fft.irfft(product, size)).max()) / max(scale, 1e-12)
