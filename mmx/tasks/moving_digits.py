"""Handwritten digits that move: real images, synthetic motion; the label is the direction."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mmx.modalities import Modality
from mmx.modalities.video import Video, VideoColumn
from mmx.tasks.base import CutTask, Samples, TaskData, cut_test
from mmx.tasks.digits import load_images
from mmx.tasks.set_facts import SetFacts

DIRECTIONS = ("left", "right", "up", "down")
STEPS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
"""Direction to the pixels down and across that a digit moves in a frame."""
SIDE, FRAMES, DIGIT = 16, 8, 8  # pixels, frames, and pixels of a digit


@dataclass(kw_only=True, eq=False)
class MovingDigits(CutTask):
    """Clips of 8 frames of 16×16 pixels, in which a digit moves left, right, up or down.

    Use it to try encoders of videos without a download: no single frame tells the direction. The
    motion is synthetic. It starts anywhere and wraps around the border; start and direction of a
    row depend on its number alone.

    Args:
        digits: Only these digits move, so that source and target can have different ones.
        noise: Standard deviation of the noise on every pixel, part of the range from black to
            white.
        video: How the clips are read.
    """

    reads_alike: ClassVar[bool] = True
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"all": 1_797}, 4, 0, "CC BY 4.0", "the images of digits; the motion is synthetic"
    )
    digits: list[Annotated[int, Field(ge=0, le=9)]] = field(default_factory=lambda: list(range(10)))
    noise: Annotated[float, Field(ge=0, le=10)] = 0.1
    video: Video = field(default_factory=lambda: Video(frames=FRAMES, size=SIDE))

    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        """The video."""
        return {"video": self.video}

    def read(self) -> Samples:
        """Return clips and directions."""
        images, labels = load_images()
        rows = np.flatnonzero(np.isin(labels, self.digits))
        moved = [move(images[row], int(row), self.noise) for row in rows]
        clips = np.stack([clip for clip, _ in moved])
        values = np.array([direction for _, direction in moved], dtype=np.int64)
        splits = cut_test(values, self.test_fraction)
        return Samples({"video": VideoColumn(clips)}, values, DIRECTIONS, splits)

    def list_files(self, data: TaskData) -> list[Path]:
        """Return no file: all is made of the images that scikit-learn installs."""
        return []


def move(image: npt.NDArray[np.uint8], row: int, noise: float) -> tuple[npt.NDArray[np.uint8], int]:
    """Return a clip ``(8, 16, 16)`` of a digit ``(8, 8)``, and the number of its direction."""
    random = np.random.default_rng(row)
    direction = int(random.integers(len(DIRECTIONS)))
    down, across = STEPS[DIRECTIONS[direction]]
    start = random.integers(0, SIDE, 2)
    ground = np.zeros((SIDE, SIDE))
    ground[:DIGIT, :DIGIT] = image
    frames = [
        np.roll(ground, (start[0] + down * time, start[1] + across * time), (0, 1))
        for time in range(FRAMES)
    ]
    noisy = np.stack(frames) + 255 * noise * random.standard_normal((FRAMES, SIDE, SIDE))
    return np.rint(noisy).clip(0, 255).astype(np.uint8), direction
