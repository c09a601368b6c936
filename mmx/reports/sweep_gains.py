"""The gains of a sweep: the mean over seeds or folds of each group, with its confidence interval.

A group is all runs that differ only in their seed and fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mmx.controls import find_control
from mmx.evaluation.chance import Chance
from mmx.evaluation.folds import average_parts
from mmx.evaluation.gain_intervals import Differences, GainInterval, bonferroni_level
from mmx.evaluation.sample_metric import Pair
from mmx.evaluation.verdict import Gain
from mmx.json_object import Json
from mmx.reports.group_gain import GroupFaster, GroupGain
from mmx.reports.run_gain import Compared, RunGain
from mmx.runs.directory import RunDirectory
from mmx.runs.draw import count_folds

FRACTION = "target.fraction"
"""The key by which a sweep varies the number of labels."""


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
        """Confidence level of each interval, so that all hold together in 95 % of cases."""
        return bonferroni_level(self.comparisons)

    @cached_property
    def less_data(self) -> list[LessData]:
        """What the gains say of label fractions, if those were varied."""
        return find_less_data(self.found)

    def data(self) -> Json:
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
                    "interval": each.interval(each.reached),
                    "level": each.level,
                    "certain": each.certain,
                    "text": each.text,
                }
                for each in self.less_data
            ],
        }


def compute_gains(
    groups: Mapping[tuple[tuple[str, str], ...], Sequence[Path]], other: Compared | None = None
) -> Gains:
    """Return the gains of groups of finished runs.

    Args:
        groups: Varied keys with their values to the directories of the runs.
        other: A metric that all runs and controls have; None for those that gains are stated in.
    """
    members = {
        group: [RunGain.read(RunDirectory(path), other) for path in paths]
        for group, paths in groups.items()
    }
    compared = [
        (dict(group), control, [run for run in runs if control in run.controls])
        for group, runs in members.items()
        for control in dict.fromkeys(name for run in runs for name in run.controls)
    ]
    level = bonferroni_level(len(compared))
    sure = _sure([(control, runs) for _, control, runs in compared], level)
    found = (
        _make_group_gain(group, control, runs, how)
        for (group, control, runs), how in zip(compared, sure, strict=True)
    )
    return Gains(tuple(found), len(compared))


def _sure(
    compared: Sequence[tuple[str, Sequence[RunGain]]], level: float
) -> list[GainInterval | None]:
    """Return how sure each gain is; None of one run without scores.

    What the seeds of one group say of their spread is held against the others' of the same
    metric, over the same control.
    """
    alike: dict[tuple[str, str], dict[int, Differences]] = {}
    for place, (control, runs) in enumerate(compared):
        differences = _find_differences(control, runs)
        if differences.pairs or len(runs) > 1:
            alike.setdefault((runs[0].metric, control), {})[place] = differences
    found: list[GainInterval | None] = [None] * len(compared)
    for members in alike.values():
        answers = GainInterval.of(list(members.values()), level=level)
        for place, answer in zip(members, answers, strict=True):
            found[place] = answer
    return found


def _find_differences(control: str, runs: Sequence[RunGain]) -> Differences:
    """Return how a group's runs differ from a control: by test rows, if all runs keep them."""
    pairs = [run.pairs[control] for run in runs if control in run.pairs]
    folds, parts = count_folds(run.draw for run in runs), [run.draw.part for run in runs]
    if len(pairs) == len(runs):
        return Differences.of(pairs, folds, parts)
    against = [run.controls[control] for run in runs]
    values = runs[0].sign * (np.array([run.target for run in runs]) - np.array(against))
    if folds:
        return Differences(runs[0].metric, average_parts(values, parts), folds=folds)
    shared = tuple(against) if len(set(against)) > 1 else None
    return Differences(runs[0].metric, values, control=shared)


def _make_group_gain(
    group: dict[str, str], control: str, runs: Sequence[RunGain], sure: GainInterval | None
) -> GroupGain:
    """Return the gain of one group over one control."""
    target = np.array([run.target for run in runs])
    against = np.array([run.controls[control] for run in runs])
    folds, parts = count_folds(run.draw for run in runs), [run.draw.part for run in runs]
    if folds:  # seeds of one fold count as one, also where a fold has fewer of them
        target, against = average_parts(target, parts), average_parts(against, parts)
    means = float(target.mean()), float(against.mean())
    learned = find_control(control).stands_for_chance or _beats_chance(runs, means)
    over = runs[0].sign * (target - against)
    return GroupGain(
        group=group,
        draws=tuple(run.draw for run in runs),
        target=means[0],
        control=means[1],
        gain=Gain(
            runs[0].metric,
            float(over.mean()),
            None if sure is None else sure.interval,
            control,
            learned,
            runs[0].lower_is_better,
        ),
        higher=int((over > 0).sum()),
        deciding=None if sure is None else sure.deciding,
        faster=_summarize_faster(control, runs, means[1]),
        pairs={run.draw: run.pairs[control] for run in runs if control in run.pairs},
    )


def _summarize_faster(control: str, runs: Sequence[RunGain], mean: float) -> GroupFaster | None:
    """Return how soon a group's targets are as good as a control with this mean over seeds.

    None where not every run observed it.
    """
    each = (run.faster for run in runs)
    soon = [found for found in each if found is not None and found.control == control]
    # Reaching a control that is at chance level says nothing.
    stated = len(soon) == len(runs) and _beats_chance(runs, [mean])
    return GroupFaster.of(soon) if stated else None


def _beats_chance(runs: Sequence[RunGain], means: Sequence[float]) -> bool:
    """Return whether any of these means over seeds is better than chance; True if unknown."""
    found = [run.chance for run in runs if run.chance is not None]
    # Where a run holds its answers against chance in another metric, these means say nothing.
    if len(found) < len(runs) or any(each.metric != runs[0].metric for each in found):
        return True
    mean = float(np.mean([each.accuracy for each in found]))
    least = Chance(mean, min(each.samples for each in found))
    bounds = [each.bound for each in found if each.bound is not None]
    if bounds:
        least = replace(found[0], bound=float(np.mean(bounds)))
    return any(least.is_beaten_by(each) for each in means)


@dataclass(frozen=True)
class LessData:
    """How many labels a transfer needs to be as good as its control with all labels.

    Attributes:
        group: Varied keys and values, without the fraction.
        control: The control.
        points: The gains of the group, by increasing fraction.
        reached: The smallest fraction with a mean at least that of the control with the largest
            fraction; None where there is none.
        intervals: Fraction, except the largest, to the interval of the transfer with it minus
            the control with the largest; None where they do not share seeds and test rows.
        level: Confidence level of each, so that all of a sweep hold together in 95 % of cases.
    """

    group: dict[str, str]
    control: str
    points: tuple[GroupGain, ...]
    reached: float | None
    intervals: Mapping[float, tuple[float, float] | None]
    level: float

    def interval(self, fraction: float | None) -> tuple[float, float] | None:
        """Return the interval of a fraction; None where there is none."""
        return None if fraction is None else self.intervals.get(fraction)

    @property
    def certain(self) -> float | None:
        """The smallest fraction that is enough with an interval above zero, or None."""
        if self.reached is None:
            return None
        found = (part for part, each in self.intervals.items() if each is not None and each[0] > 0)
        return min(found, default=None)

    @property
    def text(self) -> str:
        """The answer as one sentence."""
        last = self.points[-1]
        metric, every = last.gain.metric, format_percent(read_fraction(last))
        where = f"{self.label}: " if self.group else ""
        if not last.gain.learned:
            return (
                f"{where}no answer: with {every} of the labels neither the transfer nor the "
                f"{self.control} control does better than always saying the most frequent class"
            )
        theirs = f"what the {self.control} control has with {every} ({last.control:.3f} {metric})"
        if self.reached is not None:
            point = next(each for each in self.points if read_fraction(each) == self.reached)
            if point is last:
                return (
                    f"{where}no smaller part of the labels brings the transfer to {theirs}; "
                    f"with as many it has {point.target:.3f}"
                )
            word = "reaches" if self.certain == self.reached else "reaches on average"
            return (
                f"{where}with {format_percent(self.reached)} of the labels the transfer {word} "
                f"{theirs}: {point.target:.3f}, "
                f"{self._how_sure(last.gain.sign * (point.target - last.control))}"
            )
        best = max(self.points, key=lambda each: each.gain.sign * each.target)
        return (
            f"{where}with no fraction of the labels tried does the transfer reach {theirs}: "
            f"at best {best.target:.3f} with {format_percent(read_fraction(best))}"
        )

    def _how_sure(self, difference: float) -> str:
        """Return in words how certain it is that the reached fraction is enough."""
        found = self.interval(self.reached)
        if found is None:
            return "no interval, for want of the same seeds and test samples"
        low, high = found
        text = (
            f"{difference:+.3f} with {format_percent(self.level)} interval {low:+.3f} … {high:+.3f}"
        )
        if self.certain == self.reached:
            return text
        if self.certain is None:
            return f"{text}, which does not exclude that it falls short"
        return (
            f"{text}, which does not exclude that it falls short; that of "
            f"{format_percent(self.certain)} of the labels does"
        )

    @property
    def label(self) -> str:
        """The group as one would type it."""
        return " ".join(f"{key}={value}" for key, value in self.group.items())


def find_less_data(found: Sequence[GroupGain]) -> list[LessData]:
    """Return the answers of a sweep over label fractions, for each group and control."""
    lines: dict[tuple[Any, ...], list[GroupGain]] = {}
    for each in found:
        if FRACTION in each.group:
            others = tuple((k, v) for k, v in each.group.items() if k != FRACTION)
            lines.setdefault((others, each.gain.control), []).append(each)
    curves = {name: points for name, points in lines.items() if len(points) > 1}
    level = bonferroni_level(sum(len(points) - 1 for points in curves.values()))
    ordered = {name: sorted(points, key=read_fraction) for name, points in curves.items()}
    intervals = _compare_across(list(ordered.values()), level)
    answers = []
    for ((others, control), points), found_of in zip(ordered.items(), intervals, strict=True):
        last = points[-1]
        reached = [
            read_fraction(each)
            for each in points
            if each.gain.sign * (each.target - last.control) >= 0
        ]
        smallest = reached[0] if reached and last.gain.learned else None
        answers.append(LessData(dict(others), control, tuple(points), smallest, found_of, level))
    return answers


def _compare_across(
    curves: Sequence[Sequence[GroupGain]], level: float
) -> list[dict[float, tuple[float, float] | None]]:
    """Return for each curve the intervals of target minus last control, by fraction."""
    found: list[dict[float, tuple[float, float] | None]] = []
    alike: dict[tuple[str, str], list[tuple[int, float, Differences]]] = {}
    for place, (*smaller, last) in enumerate(curves):
        found.append({read_fraction(each): None for each in smaller})
        for each in smaller:
            if pairs := _make_pairs_across(each, last):
                members = alike.setdefault((each.gain.metric, each.gain.control), [])
                folds, parts = count_folds(each.draws), [draw.part for draw in sorted(each.draws)]
                differences = Differences.of(pairs, folds, parts)
                members.append((place, read_fraction(each), differences))
    for members in alike.values():
        answers = GainInterval.of([each for _, _, each in members], level=level)
        for (place, fraction, _), answer in zip(members, answers, strict=True):
            found[place][fraction] = answer.interval
    return found


def _make_pairs_across(one: GroupGain, other: GroupGain) -> list[Pair]:
    """Return the scores of a group's target and another's control, seed by seed and fold by fold.

    Empty where seeds, folds or test rows are not the same.
    """
    draws = sorted(one.draws)
    if draws != sorted(other.draws) or not one.pairs.keys() == other.pairs.keys() == set(draws):
        return []
    pairs = [(one.pairs[draw][0], other.pairs[draw][1]) for draw in draws]
    same = all(np.array_equal(ours.rows, theirs.rows) for ours, theirs in pairs)
    return pairs if same else []


def read_fraction(each: GroupGain) -> float:
    """Return the fraction of labels that a group trains on."""
    given = each.group[FRACTION]
    return 1.0 if given in ("null", "") else float(given)


def format_percent(part: float) -> str:
    """Return a fraction as a percentage."""
    return f"{100 * part:.4g} %"
