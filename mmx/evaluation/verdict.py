"""The gain of a transfer over a control of equal budget, and its verdict in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmx.controls import find_control

FROM_SCRATCH = "scratch"
"""The control that a gain refers to by default."""
NO_ANSWER = "no answer: neither is better than chance"


@dataclass(frozen=True)
class Gain:
    """A difference of test metrics, target minus control.

    Attributes:
        metric: The metric that is compared.
        value: The difference; positive where the target is better.
        interval: Its confidence interval; None if there is none.
        control: The control that the target is compared with.
        learned: Whether at least one of the two does better than always answering the most
            frequent class. Otherwise their difference means nothing.
        lower_is_better: Whether a smaller value of the metric is better; the difference is then
            control minus target.
    """

    metric: str
    value: float
    interval: tuple[float, float] | None = None
    control: str = FROM_SCRATCH
    learned: bool = True
    lower_is_better: bool = False

    @property
    def sign(self) -> int:
        """1, or -1 where lower is better."""
        return -1 if self.lower_is_better else 1

    @property
    def verdict(self) -> str:
        """The conclusion from the interval, in words."""
        if not self.learned:
            return NO_ANSWER
        if self.interval is None:
            return "one run, no interval"
        low, high = self.interval
        if math.isnan(low) or math.isnan(high):
            return "no verdict: a metric is no number"
        if high < 0:
            return "negative transfer: the source hurts" if self.transfers else self._other("worse")
        if low > 0:
            return "positive transfer" if self.transfers else self._other("better")
        return "no clear difference"

    @property
    def transfers(self) -> bool:
        """Whether the control is the target without a source, so that the gain is the source's."""
        return find_control(self.control).without_source

    @property
    def negative(self) -> bool:
        """Whether the source clearly hurts."""
        clear = self.interval is not None and self.interval[1] < 0
        return self.transfers and self.learned and clear

    def _other(self, than: str) -> str:
        return f"{than} than the {self.control} control"
