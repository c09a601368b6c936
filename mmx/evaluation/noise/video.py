"""Noisy, blurred and occluded videos, and frozen frames, at the size that the encoder reads.

Shape legend: ``T`` frames, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from mmx.evaluation.noise import image
from mmx.evaluation.noise.base import Corruption, Noise
from mmx.modalities import Stored
from mmx.modalities.video import VideoColumn, VideoSpec
from mmx.training.data import Rows

Clip = npt.NDArray[np.uint8]
"""``(T, H, W, 3)``."""


def corrupt_frames(
    clip: Clip,
    strength: float,
    generator: np.random.Generator,
    *,
    one: Callable[[Clip, float, np.random.Generator], Clip],
    alike: bool,
) -> Clip:
    """Corrupt each frame as an image.

    Args:
        clip: The frames.
        strength: The strength of the noise.
        generator: Its draws.
        one: The noise of an image.
        alike: Whether all frames have the same draws, as what covers a lens.
    """
    seeds = generator.integers(0, 2**63, len(clip))
    if alike:
        seeds[:] = seeds[0]
    return np.stack(
        [
            one(frame, strength, np.random.default_rng(seed))
            for frame, seed in zip(clip, seeds, strict=True)
        ]
    )


def freeze_frames(clip: Clip, strength: float, generator: np.random.Generator) -> Clip:
    """Show the frame before in place of each frame with a probability, as where packets are lost.

    The first frame stays.
    """
    lost = generator.random(len(clip)) < strength
    lost[0] = False  # the first frame has none before it
    shown = np.where(lost, 0, np.arange(len(clip)))
    # 0 in place of lost frames, then the running maximum: the last frame that is shown.
    frozen: Clip = clip[np.maximum.accumulate(shown)]
    return frozen


class VideoCorruption(Corruption[VideoColumn, VideoSpec]):
    """Corrupts decoded and resized frames.

    See :class:`~mmx.evaluation.noise.base.Corruption`.
    """

    name: ClassVar[str] = "video"

    @property
    def noises(self) -> tuple[Noise, ...]:
        """Gaussian noise, blur and occlusion of frames, and frozen frames."""
        parts = (0.0, 0.1, 0.25, 0.5, 0.75)
        return (
            Noise(
                "gaussian",
                "standard deviation, part of the range from black to white",
                (0.0, 0.05, 0.1, 0.2, 0.4),
                partial(corrupt_frames, one=image.add_gaussian_noise, alike=False),
            ),
            Noise(
                "blur",
                "standard deviation, part of the shorter side",
                (0.0, 0.0125, 0.025, 0.05, 0.1),
                partial(corrupt_frames, one=image.blur, alike=True),
            ),
            Noise(
                "occlusion",
                "part of the area, the same in all frames",
                parts,
                partial(corrupt_frames, one=image.occlude, alike=True),
            ),
            Noise("frozen_frames", "part of the frames", parts, freeze_frames),
        )

    def read(self, rows: Rows, stored: Stored | None) -> list[Clip]:
        """Return clips as ``(T, H, W, 3)`` uint8."""
        return list((stored or self.view.encode(rows)).values.cpu().numpy())

    def encode(self, values: Sequence[Clip | None]) -> Stored:
        """Return ``(B, T, H, W, 3)`` uint8."""
        size = (self.spec.frames, self.spec.height, self.spec.width, 3)
        clips = [np.zeros(size, np.uint8) if value is None else value for value in values]
        return Stored(torch.from_numpy(np.stack(clips)))
