"""Small videos, made on the spot."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

av: Any = pytest.importorskip("av")


def save_clip(
    path: Path | io.BytesIO,
    frames: np.ndarray | list[int],
    *,
    rate: int = 10,
    size: tuple[int, int] = (48, 64),
    stamps: list[int] | None = None,
    rotation: int = 0,
    sound: np.ndarray | None = None,
    codec: str = "mpeg4",
    kind: str | None = None,
) -> Any:
    """Write a video, and return where.

    Args:
        path: Where to.
        frames: ``(F, H, W, 3)`` uint8, or the shade of each frame.
        rate: Frames a second; also the unit of ``stamps``.
        size: Height and width of frames that are given as shades.
        stamps: Display time of each frame, in frames; without it, one after the other.
        rotation: Degrees in the display matrix, counter-clockwise.
        sound: ``(channels, S)`` float32 at 16 kHz.
        codec: Of the frames.
        kind: Of the container; without it, as the suffix says.
    """
    if isinstance(frames, list):
        frames = np.stack([np.full((*size, 3), shade, np.uint8) for shade in frames])
    target = str(path) if isinstance(path, Path) else path
    with av.open(target, "w", format=kind) as container:
        video = container.add_stream(codec, rate=rate)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt, video.bit_rate = "yuv420p", 4_000_000
        if rotation:
            video.set_display_rotation(rotation)
        if sound is not None:
            track = container.add_stream("aac", rate=16_000)
            track.layout = "mono" if len(sound) == 1 else "stereo"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if stamps is not None:
                frame.pts = stamps[number]
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout=track.layout.name)
            frame.sample_rate = 16_000
            container.mux(track.encode(frame))
            container.mux(track.encode())
    return path


def save_sound(path: Path) -> Path:
    """Write an MP4 file with a sound alone."""
    with av.open(str(path), "w") as container:
        track = container.add_stream("aac", rate=16_000)
        track.layout = "mono"
        samples = np.zeros((1, 16_000), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(track.encode(frame))
        container.mux(track.encode())
    return path
