"""Audio with white noise, clipping, or lost frames.

Shape legend: ``S`` audio samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from mmx.evaluation.noise.base import Corruption, Noise
from mmx.modalities import Stored
from mmx.modalities.audio import AudioColumn, AudioSpec
from mmx.training.data import Rows

Recording = npt.NDArray[np.int16]
"""``(S,)``, without padding."""

FRAME_SECONDS = 0.02


def add_white_noise(sound: Recording, strength: float, generator: np.random.Generator) -> Recording:
    """Add white noise at a ratio to the sound's own amplitude; silence stays silent."""
    # Root mean square; squares of int16 would overflow.
    amplitude = strength * math.sqrt(np.mean(np.square(sound, dtype=np.float64)))
    return _to_samples(sound + amplitude * generator.standard_normal(len(sound)))


def clip(sound: Recording, strength: float, generator: np.random.Generator) -> Recording:
    """Clip the waveform at ``1 - strength`` of its peak."""
    # In float64: the absolute value of -32768 does not fit into int16.
    most = (1 - strength) * float(np.abs(sound.astype(np.float64)).max(initial=0))
    return _to_samples(sound.astype(np.float64).clip(-most, most))


def drop_frames(
    sound: Recording, strength: float, generator: np.random.Generator, *, frame: int
) -> Recording:
    """Silence each frame with a probability.

    Args:
        sound: The audio samples.
        strength: The probability.
        generator: Draws one number for each frame.
        frame: Audio samples in a frame.
    """
    # The last frame may be shorter: repeated past the end, and cut.
    lost = generator.random(math.ceil(len(sound) / frame)) < strength
    return np.where(np.repeat(lost, frame)[: len(sound)], np.int16(0), sound)


def decibels(strength: float) -> str:
    """Return a ratio of noise to signal amplitude as a signal-to-noise ratio in dB."""
    # + 0.0 turns -0 into 0
    return f"{-20 * math.log10(strength) + 0.0:.0f} dB" if strength else "clean"


def _to_samples(values: npt.NDArray[np.float64]) -> Recording:
    limits = np.iinfo(np.int16)
    return np.rint(values).clip(limits.min, limits.max).astype(np.int16)


class AudioCorruption(Corruption[AudioColumn, AudioSpec]):
    """Corrupts decoded and resampled audio.

    See :class:`~mmx.evaluation.noise.base.Corruption`.
    """

    name: ClassVar[str] = "audio"

    @property
    def noises(self) -> tuple[Noise, ...]:
        """White noise, clipping and dropped frames."""
        frame = max(1, round(FRAME_SECONDS * self.spec.sample_rate))
        return (
            Noise(
                "white_noise",
                "amplitude of the noise over the recording's, as signal-to-noise ratio",
                tuple([0.0] + [10 ** (-ratio / 20) for ratio in (20, 10, 5, 0)]),
                add_white_noise,
                decibels,
            ),
            Noise(
                "clipping",
                "part of the peak that is cut off",
                (0.0, 0.25, 0.5, 0.75, 0.9),
                clip,
            ),
            Noise(
                "dropped_frames",
                f"part of the {1000 * FRAME_SECONDS:g} ms frames that are silent",
                (0.0, 0.1, 0.25, 0.5, 0.75),
                partial(drop_frames, frame=frame),
            ),
        )

    def read(self, rows: Rows, stored: Stored | None) -> list[Recording]:
        """Return recordings as ``(S,)`` int16 of different lengths."""
        stored = stored or self.view.encode(rows)
        values = stored.values.cpu().numpy()
        if stored.lengths is None:
            return list(values)
        lengths = stored.lengths.tolist()
        return [value[:length] for value, length in zip(values, lengths, strict=True)]

    def encode(self, values: Sequence[Recording | None]) -> Stored:
        """Return ``(B, S)`` int16, zeros after the end."""
        lengths = [0 if value is None else len(value) for value in values]
        padded = np.zeros((len(values), max(1, *lengths)), dtype=np.int16)
        for row, value in zip(padded, values, strict=True):
            if value is not None:
                row[: len(value)] = value
        return Stored(torch.from_numpy(padded), torch.tensor(lengths))
