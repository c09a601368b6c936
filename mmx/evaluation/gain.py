"""The gain: what a transfer adds to its equal-budget control, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
RESAMPLES = 2000


@dataclass(frozen=True)
class Gain:
    """A difference of test metrics, target minus control.

    Attributes:
        metric: What is compared; larger is better.
        value: The difference.
        interval: 95 % interval over test samples, or None where it is not defined.
    """

    metric: str
    value: float
    interval: tuple[float, float] | None = None

    @property
    def verdict(self) -> str:
        """What the interval says, in words."""
        if self.interval is None:
            return "one run, no interval"
        low, high = self.interval
        if high < 0:
            return "negative transfer: the source hurts"
        if low > 0:
            return "positive transfer"
        return "no clear difference"


def paired_interval(treated: Floats, control: Floats, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean difference over paired samples.

    Args:
        treated: ``(N,)`` score of each test sample under transfer.
        control: ``(N,)`` score of the same samples under the control.
        seed: Of the resampling.

    Reference: Efron 1979, percentile bootstrap.
    """
    difference = treated - control
    generator = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        means[index] = difference[generator.integers(0, len(difference), len(difference))].mean()
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
