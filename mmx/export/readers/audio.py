"""Reads a sound file: mono, at one rate, cut at its end. Needs soundfile and numpy."""

import math
from typing import Any

import numpy as np
import soundfile


def read(path: str, how: dict[str, Any]) -> Any:
    """Return ``(S,)`` float32 samples in [-1, 1]."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if np.abs(samples).max(initial=0) > 2 or not np.isfinite(samples).all():
        raise ValueError(f"{path}: full scale must be ±1")
    channel = how["channel"]
    mono = samples.mean(axis=1) if channel is None else samples[:, channel - 1]
    if rate != how["sample_rate"]:
        mono = resample(mono, rate, how["sample_rate"])
    return mono[: how["max_samples"]]


def resample(samples: Any, old: int, new: int) -> Any:
    """Return the samples at another rate, by a windowed sinc as ``torchaudio`` does.

    Its parameters are a Hann window, a width of 6 zero crossings and a roll-off of 0.99.
    """
    common = math.gcd(old, new)
    old, new = old // common, new // common
    rate = min(old, new) * 0.99
    width = math.ceil(6 * old / rate)
    # All in float32, as torchaudio computes them: float64 would differ in the sixth digit.
    places = np.arange(-width, width + old, dtype=np.float32) / np.float32(old)
    times = np.arange(0, -new, -1, dtype=np.float32)[:, None] / np.float32(new) + places
    times = (times * np.float32(rate)).clip(-6, 6)
    window = np.cos(times * np.float32(math.pi) / np.float32(6) / np.float32(2)) ** 2
    times *= np.float32(math.pi)
    ones = np.ones_like(times)
    kernels = np.divide(np.sin(times), times, out=ones, where=times != 0)
    kernels *= window * np.float32(rate / old)
    padded = np.pad(samples, (width, width + old))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernels.shape[1])[::old]
    found = windows @ kernels.T
    return found.ravel()[: math.ceil(new * len(samples) / old)]
