"""The gains of a sweep: for each of its groups the mean over seeds, and how sure that is.

A group is all runs that differ in nothing but their seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmx.evaluation.chance import Chance
from mmx.evaluation.gain import Gain
from mmx.evaluation.paired import Pair, over_seeds, simultaneous, studentised
from mmx.runs import scores
from mmx.runs.directory import RunDirectory

FRACTION = "target.fraction"
"""The key by which a sweep varies how many labels there are."""


@dataclass(frozen=True)
class GroupGain:
    """What one group gains over one control.

    Attributes:
        group: Varied key to value, the seed left out.
        seeds: Those of its runs.
        target: Mean test metric of the target.
        control: Mean test metric of the control.
        gain: Their difference, its interval simultaneous with those of the other groups.
    """

    group: dict[str, str]
    seeds: tuple[int, ...]
    target: float
    control: float
    gain: Gain

    @property
    def label(self) -> str:
        """The group as one would type it."""
        return " ".join(f"{key}={value}" for key, value in self.group.items())

    def numbers(self) -> dict[str, Any]:
        """Return what was found, as one line of a table."""
        low, high = self.gain.interval or (None, None)
        return {
            "over": self.gain.control,
            "metric": self.gain.metric,
            "seeds": len(self.seeds),
            "target_mean": self.target,
            "control_mean": self.control,
            "gain": self.gain.value,
            "low": low,
            "high": high,
            "verdict": self.gain.verdict,
            "negative_transfer": self.gain.negative,
        }


@dataclass(frozen=True)
class Gains:
    """The gains of a sweep.

    Attributes:
        found: One for each group and control, in the order of the groups.
        comparisons: How many intervals share the error of 5 %.
    """

    found: tuple[GroupGain, ...]
    comparisons: int

    @property
    def level(self) -> float:
        """Level of each interval, so that all hold together in 95 % of cases."""
        return simultaneous(self.comparisons)

    def data(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "level": self.level,
            "comparisons": self.comparisons,
            "correction": "bonferroni",
            "gains": [{"group": each.group, **each.numbers()} for each in self.found],
            "less_data": [
                {
                    "group": each.group,
                    "over": each.control,
                    "reached": each.reached,
                    "text": each.text,
                }
                for each in less_data(self.found)
            ],
        }


def gains(groups: Mapping[tuple[tuple[str, str], ...], Sequence[Path]]) -> Gains:
    """Return the gains of groups of finished runs.

    Args:
        groups: Varied keys with their values to the directories of the runs.
    """
    members = {
        group: [_Run.read(RunDirectory(path)) for path in paths] for group, paths in groups.items()
    }
    pairs = [
        (dict(group), control, runs)
        for group, runs in members.items()
        for control in dict.fromkeys(name for run in runs for name in run.controls)
    ]
    level = simultaneous(len(pairs))
    found = (
        _group(group, control, [run for run in runs if control in run.controls], level)
        for group, control, runs in pairs
    )
    return Gains(tuple(found), len(pairs))


@dataclass(frozen=True)
class _Run:
    """What of a finished run counts here.

    Attributes:
        seed: Its seed.
        metric: In which its gain is stated.
        target: Test metric of the target.
        controls: Control to its test metric.
        pairs: Control to scores of the target and of the control, where they are kept.
        chance: Of its test split; None where the target is no class.
    """

    seed: int
    metric: str
    target: float
    controls: dict[str, float]
    pairs: dict[str, Pair]
    chance: Chance | None = None

    @classmethod
    def read(cls, directory: RunDirectory) -> _Run:
        """Return what a run directory holds."""
        summary = directory.summary()
        seed, tested = int(summary["seed"]), summary["target"]["metrics"]["test"]
        if "gain" not in summary:
            return cls(seed, "", 0.0, {}, {})
        metric = str(summary["gain"]["metric"])
        controls = summary["control"].items()
        kept = scores.read(directory)
        least = summary["target"].get("chance")
        return cls(
            seed,
            metric,
            float(tested[metric]),
            {name: float(each["metrics"]["test"][metric]) for name, each in controls},
            {} if kept is None else {name: (kept[0], each) for name, each in kept[1].items()},
            None if least is None else Chance(**least),
        )


def _group(group: dict[str, str], control: str, runs: Sequence[_Run], level: float) -> GroupGain:
    """Return the gain of one group over one control."""
    target = np.array([run.target for run in runs])
    against = np.array([run.controls[control] for run in runs])
    pairs = [run.pairs[control] for run in runs if control in run.pairs]
    interval = None
    if len(pairs) == len(runs):
        interval = over_seeds(pairs, level=level)
    elif len(runs) > 1:
        interval = studentised(target - against, np.zeros(1), level=level)
    means = float(target.mean()), float(against.mean())
    learned = control == "majority" or _learned(runs, means)
    difference = float((target - against).mean())
    return GroupGain(
        group=group,
        seeds=tuple(run.seed for run in runs),
        target=means[0],
        control=means[1],
        gain=Gain(runs[0].metric, difference, interval, control, learned),
    )


def _learned(runs: Sequence[_Run], means: Sequence[float]) -> bool:
    """Return whether a mean over seeds, of target or control, is better than chance."""
    found = [run.chance for run in runs if run.chance is not None]
    if len(found) < len(runs):
        return True
    mean = float(np.mean([each.accuracy for each in found]))
    least = Chance(mean, min(each.samples for each in found))
    return any(least.beaten(each) for each in means)


@dataclass(frozen=True)
class LessData:
    """How many labels a transfer needs to be as good as its control with all.

    Attributes:
        group: Varied keys but the fraction.
        control: Which control.
        points: Those of the group, by rising fraction.
        reached: The smallest fraction whose mean is that of the control with the largest
            fraction, or better; None for none.
    """

    group: dict[str, str]
    control: str
    points: tuple[GroupGain, ...]
    reached: float | None

    @property
    def text(self) -> str:
        """The answer as one sentence."""
        last = self.points[-1]
        metric, every = last.gain.metric, percent(fraction_of(last))
        where = f"{self.label}: " if self.group else ""
        if not last.gain.learned:
            return (
                f"{where}no answer: with {every} of the labels neither the transfer nor the "
                f"{self.control} control does better than always saying the most frequent class"
            )
        theirs = f"what the {self.control} control has with {every} ({last.control:.3f} {metric})"
        if self.reached is not None:
            (point,) = (each for each in self.points if fraction_of(each) == self.reached)
            if point is last:
                return (
                    f"{where}no smaller part of the labels brings the transfer to {theirs}; "
                    f"with as many it has {point.target:.3f}"
                )
            return (
                f"{where}with {percent(self.reached)} of the labels the transfer reaches "
                f"{theirs}: {point.target:.3f}"
            )
        best = max(self.points, key=lambda each: each.target)
        return (
            f"{where}with no fraction of the labels tried does the transfer reach {theirs}: "
            f"at best {best.target:.3f} with {percent(fraction_of(best))}"
        )

    @property
    def label(self) -> str:
        """The group as one would type it."""
        return " ".join(f"{key}={value}" for key, value in self.group.items())


def less_data(found: Sequence[GroupGain]) -> list[LessData]:
    """Return what a sweep over label fractions says, for each group and control."""
    lines: dict[tuple[Any, ...], list[GroupGain]] = {}
    for each in found:
        if FRACTION in each.group:
            others = tuple((k, v) for k, v in each.group.items() if k != FRACTION)
            lines.setdefault((others, each.gain.control), []).append(each)
    answers = []
    for (others, control), points in lines.items():
        if len(points) > 1:
            ordered = sorted(points, key=fraction_of)
            wanted = ordered[-1].control
            reached = [fraction_of(each) for each in ordered if each.target >= wanted]
            smallest = reached[0] if reached and ordered[-1].gain.learned else None
            answers.append(LessData(dict(others), control, tuple(ordered), smallest))
    return answers


def fraction_of(each: GroupGain) -> float:
    """Return the part of the labels that a group trains on."""
    given = each.group[FRACTION]
    return 1.0 if given in ("null", "") else float(given)


def percent(part: float) -> str:
    """Return a part of 1 as people write it."""
    return f"{100 * part:.4g} %"
