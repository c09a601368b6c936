"""The gain of one group of runs over one control, and how soon its targets were as good."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mmx.evaluation.faster import Faster
from mmx.evaluation.power import SeedsNeeded
from mmx.evaluation.sample_metric import Pair
from mmx.evaluation.verdict import Gain
from mmx.json_object import Json
from mmx.runs.draw import Draw, count_folds


@dataclass(frozen=True)
class GroupFaster:
    """How long the targets of a group train until they reach the best of their controls.

    Attributes:
        reached: How many targets reach it.
        target_steps, target_s: Medians over all targets, where never counts as infinity; None
            where the median is infinite.
        control_steps, control_s: Medians of the controls.
    """

    reached: int
    target_steps: float | None
    target_s: float | None
    control_steps: float
    control_s: float

    @classmethod
    def of(cls, found: Sequence[Faster]) -> GroupFaster:
        """Return the medians of several runs."""
        return cls(
            reached=sum(each.target_steps is not None for each in found),
            target_steps=_find_median([each.target_steps for each in found]),
            target_s=_find_median([each.target_s for each in found]),
            control_steps=statistics.median(each.control_steps for each in found),
            control_s=statistics.median(each.control_s for each in found),
        )


def _find_median(values: Sequence[float | None]) -> float | None:
    """Return the median, where None counts as infinity."""
    # A median over successful targets alone would favour a target that seldom succeeds.
    found = statistics.median(math.inf if value is None else value for value in values)
    return None if math.isinf(found) else found


@dataclass(frozen=True)
class GroupGain:
    """The gain of one group over one control.

    Attributes:
        group: Varied key to value, without seed and fold.
        draws: Seed and fold of each of its runs.
        target: Mean test metric of the target.
        control: Mean test metric of the control.
        gain: Their difference, positive where the target is better; its interval holds together
            with those of the other groups.
        higher: In how many seeds, or folds, the target was better.
        deciding: About how many seeds would decide; None where these do, or there is only one.
        faster: How soon the target is as good as the control; None where that was not observed,
            or the control is no better than chance.
        pairs: Seed and fold to the scores of target and control, where they are kept.
    """

    group: dict[str, str]
    draws: tuple[Draw, ...]
    target: float
    control: float
    gain: Gain
    higher: int = 0
    deciding: SeedsNeeded | None = None
    faster: GroupFaster | None = None
    pairs: Mapping[Draw, Pair] = field(default_factory=dict, compare=False, repr=False)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each of its runs."""
        return tuple(draw.seed for draw in self.draws)

    @property
    def folds(self) -> int:
        """Number of folds of a partition, where the mean is over folds; 0 where it is not."""
        return count_folds(self.draws)

    @property
    def count(self) -> int:
        """How many values the mean is of: folds in all repeats, or seeds."""
        return len({draw.part for draw in self.draws}) if self.folds else len(self.draws)

    @property
    def over(self) -> str:
        """What the mean is over: ``5 seeds``, ``5 folds``, ``15 folds (3 repeats of 5)``."""
        if not self.folds:
            return "1 seed" if self.count == 1 else f"{self.count} seeds"
        repeats = len({draw.repeat for draw in self.draws})
        several = f" ({repeats} repeats of {self.folds})" if repeats > 1 else ""
        if self.lacks_folds:
            several = f" of {repeats * self.folds}"
        return f"{self.count} folds{several}"

    @property
    def lacks_folds(self) -> bool:
        """Whether some fold of a partition has no finished run."""
        return self.count < len({draw.repeat for draw in self.draws}) * self.folds

    @property
    def label(self) -> str:
        """The group as one would type it."""
        return " ".join(f"{key}={value}" for key, value in self.group.items())

    def numbers(self) -> Json:
        """Return the numbers as one row of a table."""
        low, high = self.gain.interval or (None, None)
        soon, unit = self.faster, "folds" if self.folds else "seeds"
        repeats = {"repeats": len({draw.repeat for draw in self.draws})} if self.folds else {}
        return {
            "over": self.gain.control,
            "metric": self.gain.metric,
            **({"lower_is_better": True} if self.gain.lower_is_better else {}),
            "seeds": len(set(self.seeds)) if self.folds else len(self.seeds),
            **({"folds": self.count} if self.folds else {}),
            **repeats,
            "target_mean": self.target,
            "control_mean": self.control,
            "gain": self.gain.value,
            "low": low,
            "high": high,
            f"higher_{unit}": self.higher,
            "deciding_seeds": None if self.deciding is None else self.deciding.seeds,
            "deciding": None if self.deciding is None else str(self.deciding),
            "verdict": self.gain.verdict,
            "negative_transfer": self.gain.negative,
            "faster_reached": None if soon is None else soon.reached,
            "faster_target_steps": None if soon is None else soon.target_steps,
            "faster_control_steps": None if soon is None else soon.control_steps,
            "faster_target_s": None if soon is None else soon.target_s,
            "faster_control_s": None if soon is None else soon.control_s,
        }
