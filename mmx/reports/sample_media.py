"""Rows of each modality in a form that a page can hold: small pictures, sounds, curves, texts."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import soundfile
import torch
from torchaudio.functional import resample

from mmx.modalities.clips import measure_clip, read_frames
from mmx.modalities.files import FileOrBytes
from mmx.modalities.video import VideoColumn

SamplePixels = npt.NDArray[np.uint8]

TINY = 48  # pixels of a side up to which a picture is kept exactly
QUALITY = 80  # of JPEG
RATE = 16_000  # Hz; higher rates are resampled
BANDS, COLUMNS = 64, 160  # height and width of a spectrogram in pixels
RANGE = 70.0  # decibels below the loudest that a spectrogram shows
COLORS = np.array([[13, 22, 44], [38, 79, 140], [36, 155, 158], [245, 214, 92]], np.float64)
"""From silence to the loudest."""
POINTS = 160  # of a curve
CURVES = 3  # features of a sequence that are drawn
CURVE_WIDTH, CURVE_HEIGHT = 160, 48
FRAMES = 4  # of a video


def encode_picture(pixels: SamplePixels, side: int) -> str:
    """Return a picture as a data address, its longer side reduced to ``side`` pixels."""
    image = PIL.Image.fromarray(pixels)
    image.thumbnail((side, side))
    tiny = max(image.size) <= TINY
    content = io.BytesIO()
    if tiny:
        image.save(content, "PNG", optimize=True)
    else:
        image.save(content, "JPEG", quality=QUALITY)
    return _make_address("image/png" if tiny else "image/jpeg", content.getvalue())


def encode_sound(samples: npt.NDArray[np.float32], rate: int, most: int) -> tuple[str, float]:
    """Return the beginning of a sound as the address of a WAV, and its length in seconds.

    Args:
        samples: ``(S,)`` mono, in [-1, 1].
        rate: In Hz.
        most: Bytes that the WAV may have.
    """
    if rate > RATE:
        needed = samples[: most * rate // RATE]
        samples = resample(torch.from_numpy(needed.copy()), rate, RATE).numpy()
        rate = RATE
    samples = samples[: most // 2]
    content = io.BytesIO()
    soundfile.write(content, samples.clip(-1, 1), rate, format="WAV", subtype="PCM_16")
    return _make_address("audio/wav", content.getvalue()), len(samples) / rate


def draw_spectrogram(samples: npt.NDArray[np.float32], rate: int) -> str:
    """Return a picture of the spectrum over time, low tones at the bottom, as a data address."""
    window = max(16, min(1024, 2 ** int(np.log2(max(rate * 0.025, 16)))))
    padded = np.pad(samples, (0, max(0, window - len(samples))))
    starts = np.linspace(0, len(padded) - window, COLUMNS).astype(np.int64)
    frames = np.stack([padded[start : start + window] for start in starts]) * np.hanning(window)
    power = np.abs(np.fft.rfft(frames, axis=1)[:, 1:]) ** 2  # (COLUMNS, window / 2)
    rows = np.linspace(0, power.shape[1], BANDS + 1).astype(np.int64)
    bands = np.stack([power[:, low : max(high, low + 1)].mean(1) for low, high in pairwise(rows)])
    decibels = 10 * np.log10(bands + 1e-12)
    shade = ((decibels - decibels.max()) / RANGE + 1).clip(0, 1)[::-1]
    places = np.linspace(0, 1, len(COLORS))
    pixels = np.stack([np.interp(shade, places, COLORS[:, one]) for one in range(3)], axis=2)
    content = io.BytesIO()
    PIL.Image.fromarray(pixels.astype(np.uint8)).quantize(48).save(content, "PNG", optimize=True)
    return _make_address("image/png", content.getvalue())


def read_strip(column: VideoColumn, row: int) -> list[SamplePixels]:
    """Return a few frames of a video, evenly spaced in time.

    Raises:
        DataError: The file cannot be read.
    """
    parts = (np.arange(FRAMES) + 0.5) / FRAMES
    video = column.videos[row]
    if isinstance(video, FileOrBytes):
        name = column.name_row(row)
        timeline = measure_clip(video, name)
        return read_frames(video, name, timeline, timeline.find(parts * timeline.duration))
    frames: Any = np.asarray(video)  # (F, H, W) or (F, H, W, 3)
    return list(frames[(parts * len(frames)).astype(np.int64)])


def draw_polylines(values: npt.NDArray[np.float64]) -> list[str]:
    """Return the curves of the first features as points of SVG, each scaled by itself.

    Args:
        values: ``(T, D)``; NaN where a value is missing, which is left out.
    """
    curves = []
    for feature in values.T[:CURVES]:
        places = np.linspace(0, len(feature) - 1, min(POINTS, len(feature))).astype(np.int64)
        chosen = feature[places]
        finite = np.isfinite(chosen)
        if not finite.any():
            continue
        low, high = chosen[finite].min(), chosen[finite].max()
        width = max(len(feature) - 1, 1)
        x = places / width * (CURVE_WIDTH - 4) + 2
        y = CURVE_HEIGHT - 3 - (chosen - low) / ((high - low) or 1.0) * (CURVE_HEIGHT - 6)
        curves.append(_join_points(x[finite], y[finite]))
    return curves


def _join_points(x: Sequence[float], y: Sequence[float]) -> str:
    return " ".join(f"{one:.1f},{other:.1f}" for one, other in zip(x, y, strict=True))


def _make_address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
