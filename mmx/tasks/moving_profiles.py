"""Handwritten digits that move, as sequences of their projection profiles."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mmx.modalities import Modality
from mmx.modalities.sequence import SequenceColumn, Sequences
from mmx.tasks.base import CutTask, Samples, TaskData, cut_test
from mmx.tasks.digits import load_images
from mmx.tasks.set_facts import SetFacts

STEPS = {
    "left": (0, -1),
    "right": (0, 1),
    "up": (-1, 0),
    "down": (1, 0),
    "up_left": (-1, -1),
    "up_right": (-1, 1),
    "down_left": (1, -1),
    "down_right": (1, 1),
}
"""Direction to the pixels down and across that a digit moves in a step."""
DIRECTIONS = tuple(STEPS)
SIDE, LENGTH = 16, 8  # pixels of the square ground, and steps


@dataclass(kw_only=True, eq=False)
class MovingProfiles(CutTask):
    """Sequences of 8 steps, in which a digit moves over 16×16 pixels in one of 8 directions.

    Use it to try encoders of sequences, and transfer between them, without a download: no single
    step tells the direction. A step is the profiles of one frame, the mean shade of each of its 16
    rows and then of its 16 columns, as a touch pad or a light curtain reports them. The motion is
    synthetic. It starts anywhere and wraps around the border; start and direction of a row depend
    on its number alone.

    Args:
        digits: Only these digits move, so that source and target can have different ones.
        noise: Standard deviation of the noise on every mean, part of the range from black to
            white.
        sequence: How the sequences are scaled and cut.
    """

    reads_alike: ClassVar[bool] = True
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"all": 1_797}, 8, 0, "CC BY 4.0", "the images of digits; the motion is synthetic"
    )
    digits: list[Annotated[int, Field(ge=0, le=9)]] = field(default_factory=lambda: list(range(10)))
    noise: Annotated[float, Field(ge=0, le=10)] = 0.02
    sequence: Sequences = field(default_factory=Sequences)

    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        """The sequence."""
        return {"sequence": self.sequence}

    def read(self) -> Samples:
        """Return sequences and directions."""
        images, labels = load_images()
        rows = np.flatnonzero(np.isin(labels, self.digits))
        moved = [move_profiles(images[row], int(row), self.noise) for row in rows]
        values = np.array([direction for _, direction in moved], dtype=np.int64)
        column = SequenceColumn([steps for steps, _ in moved])
        splits = cut_test(values, self.test_fraction)
        return Samples({"sequence": column}, values, DIRECTIONS, splits)

    def list_files(self, data: TaskData) -> list[Path]:
        """Return no file: all is made of the images that scikit-learn installs."""
        return []


def move_profiles(
    image: npt.NDArray[np.uint8], row: int, noise: float
) -> tuple[npt.NDArray[np.float64], int]:
    """Return the profiles ``(8, 32)`` of a moving digit ``(8, 8)``, and its direction's number."""
    random = np.random.default_rng(row)
    direction = int(random.integers(len(DIRECTIONS)))
    starts = random.integers(0, SIDE, 2)
    ground = np.zeros((SIDE, SIDE))
    ground[: image.shape[0], : image.shape[1]] = image / 255
    profiles = ground.mean(axis=1), ground.mean(axis=0)  # of rows, which move down; of columns
    speeds = STEPS[DIRECTIONS[direction]]
    steps = [
        np.concatenate(
            [
                np.roll(profile, start + speed * time)
                for profile, start, speed in zip(profiles, starts, speeds, strict=True)
            ]
        )
        for time in range(LENGTH)
    ]
    return np.stack(steps) + noise * random.standard_normal((LENGTH, 2 * SIDE)), direction
