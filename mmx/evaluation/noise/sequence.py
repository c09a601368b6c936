"""Sequences with additive noise, lost steps, or features that are lost throughout.

Shape legend: ``T`` steps, ``D`` features.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from mmx.evaluation.noise.base import Corruption, Noise, add_noise
from mmx.modalities import Stored
from mmx.modalities.sequence import SequenceColumn, SequenceSpec, Steps
from mmx.training.data import Rows


def lose_steps(
    steps: Steps, strength: float, generator: np.random.Generator, *, means: Steps
) -> Steps:
    """Replace each step with a probability by the mean, as where a sensor pauses."""
    lost = generator.random(len(steps)) < strength
    return np.where(lost[:, None], means, steps)


def lose_features(
    steps: Steps, strength: float, generator: np.random.Generator, *, means: Steps
) -> Steps:
    """Replace each feature with a probability by its mean in all steps, as of a dead sensor."""
    return np.where(generator.random(len(means)) < strength, means, steps)


class SequenceCorruption(Corruption[SequenceColumn, SequenceSpec]):
    """Corrupts sequences as they are read; see :class:`~mmx.evaluation.noise.base.Corruption`."""

    name: ClassVar[str] = "sequence"

    @property
    def noises(self) -> tuple[Noise, ...]:
        """Additive noise, lost steps and lost features."""
        means, stds = np.array(self.spec.means), np.array(self.spec.stds)
        parts = (0.0, 0.1, 0.25, 0.5, 0.75)
        return (
            Noise(
                "additive",
                "standard deviation over that of the training rows",
                (0.0, 0.1, 0.25, 0.5, 1.0),
                partial(add_noise, stds=stds),
            ),
            Noise("lost_steps", "part of the steps", parts, partial(lose_steps, means=means)),
            Noise(
                "lost_features", "part of the features", parts, partial(lose_features, means=means)
            ),
        )

    def read(self, rows: Rows, stored: Stored | None) -> list[Steps]:
        """Return the sequence of each row, of no step where it has none."""
        nothing = np.zeros((0, self.spec.width))
        here, most = self.column.present, self.spec.max_steps
        return [self.column.read(int(row))[:most] if here[row] else nothing for row in rows]

    def encode(self, values: Sequence[Steps | None]) -> Stored:
        """Return the sequences standardised as in training."""
        return self.view.modality.encode(SequenceColumn(values), np.arange(len(values)), self.spec)
