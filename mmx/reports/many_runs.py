"""``mmx compare`` of many runs: one line for each group, and how sure the differences are.

Groups are compared on each target apart. The group that is best on validation is named, since
choosing by test metrics would overstate what is chosen; every other is held against it on the
same test rows.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mmx.errors import DataError, UsageError, closest
from mmx.evaluation.friedman import FEWEST_TARGETS, Ranks, rank_methods
from mmx.evaluation.gain_intervals import Differences, GainInterval, bonferroni_level
from mmx.json_object import Json
from mmx.metrics.base import Floats
from mmx.reports.group_line import LEVEL, GroupLine, GroupMean, Paired
from mmx.reports.many_runs_notes import (
    note_confounded,
    note_controls,
    note_few,
    note_mixed,
    note_undefined,
)
from mmx.reports.pairing import Side, pair_sides
from mmx.reports.run_groups import FinishedRun, RunGroup, find_stated_direction
from mmx.reports.sweep_groups import find_common
from mmx.runs import sample_scores
from mmx.runs.summary import Summary

LOSS = "loss"


@dataclass(frozen=True)
class ManyRuns:
    """A comparison of many runs.

    Attributes:
        metric: What is compared.
        larger_is_better: Its direction.
        lines: One for each group; those of a target stand together, the best on test first.
        comparisons: How many paired differences share the error of 5 %.
        notes: What a reader must know of how the table was made.
    """

    metric: str
    larger_is_better: bool
    lines: tuple[GroupLine, ...]
    comparisons: int
    notes: tuple[str, ...]

    @property
    def targets(self) -> list[str]:
        """The target tasks, in the order of their first runs."""
        return list(dict.fromkeys(line.group.target for line in self.lines))

    @property
    def level(self) -> float:
        """Confidence level of each paired difference, so that all hold together in 95 %."""
        return bonferroni_level(self.comparisons)

    @cached_property
    def methods(self) -> list[str]:
        """The names of the groups that were tried on every target."""
        names = dict.fromkeys(line.group.name for line in self.lines)
        return [name for name in names if all(self._has_value(name, x) for x in self.targets)]

    @cached_property
    def ranks(self) -> Ranks | None:
        """The ranks of the methods over targets; None of too few targets or methods."""
        if len(self.targets) < FEWEST_TARGETS or len(self.methods) < 2:
            return None
        sign = 1 if self.larger_is_better else -1
        found = [
            [sign * line.test.value for name in self.methods if (line := self._find(name, each))]
            for each in self.targets
        ]
        return rank_methods(np.round(found, 12))  # means that differ by rounding share a rank

    def _has_value(self, name: str, target: str) -> bool:
        line = self._find(name, target)
        return line is not None and not math.isnan(line.test.value)

    def _find(self, name: str, target: str) -> GroupLine | None:
        fits = (x for x in self.lines if x.group.name == name and x.group.target == target)
        return next(fits, None)

    def data(self) -> Json:
        """Return everything as plain data."""
        ranks = self.ranks
        return {
            "metric": self.metric,
            "larger_is_better": self.larger_is_better,
            "level": LEVEL,
            "paired_level": self.level,
            "groups": [_as_data(line) for line in self.lines],
            "ranks": None
            if ranks is None
            else {
                "mean_ranks": dict(zip(self.methods, ranks.means, strict=True)),
                "friedman_p": ranks.p,
                "critical_difference": ranks.critical_difference,
            },
            "notes": list(self.notes),
        }


def _as_data(line: GroupLine) -> Json:
    paired = line.paired
    return {
        "target": line.group.target,
        "group": line.group.label,
        "runs": [str(run.directory.path) for run in line.group.runs],
        "val": _mean_as_data(line.val),
        "test": _mean_as_data(line.test),
        "gain": None if line.gain is None else _mean_as_data(line.gain),
        "seconds": line.seconds,
        "parameters": line.parameters,
        "best_by_validation": line.is_best,
        "pareto": line.is_on_front,
        "difference_to_best": None
        if paired is None
        else {"value": paired.value, "interval": [*paired.interval], "effect": paired.effect},
    }


def _mean_as_data(mean: GroupMean) -> Json:
    half = mean.half_width
    interval = None if half is None else [mean.value - half, mean.value + half]
    return {"mean": mean.value, "interval": interval, "values": mean.values.tolist()}


def compare_many(
    groups: Sequence[RunGroup],
    metric: str | None = None,
    notes: Sequence[str] = (),
    words: Sequence[str] = ("outputs",),
) -> ManyRuns:
    """Compare groups of finished runs.

    Args:
        groups: Of one or several targets.
        metric: A test metric that all runs have; None for that of their gains, or else the first
            that is no loss.
        notes: On how the runs were chosen, to stand with the comparison.
        words: By which the runs were chosen, as typed after ``mmx compare``, for tips.

    Raises:
        UsageError: The metric is not one that all runs have, or they have none in common.
    """
    runs = [run for group in groups for run in group.runs]
    chosen = _choose_metric(groups, metric, words)
    larger, unknown = _find_larger_is_better(runs, chosen)
    lines = [_make_line(group, chosen, larger) for group in groups]
    marked: list[GroupLine] = []
    for target in dict.fromkeys(line.group.target for line in lines):
        own = [line for line in lines if line.group.target == target]
        marked += sorted(_mark(own, larger), key=lambda line: -_score(line.test, larger))
    paired, comparisons, left_out = _pair(marked, chosen)
    own_notes = [*unknown, *note_undefined(lines, chosen), *note_controls(lines)]
    own_notes += [*note_mixed(groups), *note_confounded(groups), *left_out]
    return ManyRuns(chosen, larger, tuple(paired), comparisons, (*notes, *own_notes))


def _find_larger_is_better(runs: Sequence[FinishedRun], metric: str) -> tuple[bool, list[str]]:
    """Return the direction of a metric, and a note where nothing states it."""
    lower = find_stated_direction(runs, metric)
    if lower is None:
        return True, [f"larger {metric} is taken for better: no run states what is"]
    return not lower, []


def _score(mean: GroupMean, larger: bool) -> float:
    """Return what grows as a group gets better; of a metric without a value, less than all."""
    if math.isnan(mean.value):
        return -math.inf
    return mean.value if larger else -mean.value


def _choose_metric(groups: Sequence[RunGroup], given: str | None, words: Sequence[str]) -> str:
    """Return the metric to compare by: the given one, or the first that all runs have."""
    runs = [run for group in groups for run in group.runs]
    every = [run.summary.target.metrics.get("test", {}) for run in runs]
    common = [name for name in every[0] if all(name in found for found in every)]
    if given is not None and given in common:
        return given
    if given is not None and common:
        near = closest(given, common)
        raise UsageError(
            f"--metric {given}: all runs have {', '.join(common)}",
            tip=f"--metric {near or common[0]}",
        )
    if (own := _find_own_metric(runs)) in common:
        return own
    if (first := _find_first_metric(common)) != LOSS:
        return first
    kinds = list(dict.fromkeys(_find_first_metric(found) for found in every))
    raise UsageError(
        f"the runs have no test metric in common: some have {', some '.join(kinds)}",
        tip=_advise_kind(groups, kinds, words),
    )


def _advise_kind(groups: Sequence[RunGroup], kinds: Sequence[str], words: Sequence[str]) -> str:
    """Return the same comparison of those runs that have a metric, where they are two groups."""
    for kind in kinds:
        measured = [
            any(kind in run.summary.target.metrics.get("test", {}) for run in group.runs)
            for group in groups
        ]
        if kind != LOSS and sum(measured) > 1:
            return shlex.join(["mmx", "compare", *words, f"{kind}!=null"])
    return "mmx list   (which other runs there are)"


def _find_first_metric(names: Iterable[str]) -> str:
    """Return the first metric other than the loss, and the loss where there is none."""
    return next((name for name in names if name != LOSS), LOSS)


def _find_own_metric(runs: Sequence[FinishedRun]) -> str:
    """Return the metric of all gains, or the one whose scores are kept; empty without such."""
    stated = {run.summary.gain.metric for run in runs if run.summary.gain is not None}
    if not stated:
        kept = sample_scores.read_scores(runs[0].directory)
        return "" if kept is None else kept[0].metric
    return stated.pop() if len(stated) == 1 else ""


def _make_line(group: RunGroup, metric: str, larger: bool) -> GroupLine:
    summaries = [run.summary for run in group.runs]
    val, test = (
        GroupMean.of(group, [each.target.metrics[split][metric] for each in summaries])
        for split in ("val", "test")
    )
    found = [_find_gain(each, metric, larger) for each in summaries]
    gains = [gain for gain in found if gain is not None]
    return GroupLine(
        group=group,
        val=val,
        test=test,
        gain=GroupMean.of(group, gains) if len(gains) == len(found) else None,
        seconds=float(np.mean([each.timing.target_s for each in summaries])),
        parameters=float(np.mean([each.params.total for each in summaries])),
    )


def _find_gain(summary: Summary, metric: str, larger: bool) -> float | None:
    """Return a run's gain over its control in a metric; None where the control lacks one of them.

    In another metric than the stated one it is the difference of both test metrics.
    """
    stated = summary.gain
    if stated is None:
        return None
    if stated.metric == metric:
        return stated.value
    control = summary.control.get(stated.control)
    theirs = None if control is None else control.metrics.get("test", {}).get(metric)
    if theirs is None:
        return None
    ours = summary.target.metrics["test"][metric]
    return ours - theirs if larger else theirs - ours


def _mark(lines: Sequence[GroupLine], larger: bool) -> list[GroupLine]:
    """Return the lines of one target with the best on validation and the Pareto front marked."""
    best = max(lines, key=lambda line: _score(line.val, larger))
    known = not math.isnan(best.val.value)
    return [
        GroupLine(
            **{
                **vars(line),
                "is_best": known and line is best,
                "is_on_front": not math.isnan(line.test.value)
                and not any(_dominates(other, line, larger) for other in lines),
            }
        )
        for line in lines
    ]


def _dominates(one: GroupLine, other: GroupLine, larger: bool) -> bool:
    """Return whether a group is at least as good in at most as much time, and not equal."""
    ours, theirs = _score(one.test, larger), _score(other.test, larger)
    if ours < theirs or one.seconds > other.seconds:
        return False
    return ours > theirs or one.seconds < other.seconds


def _pair(lines: Sequence[GroupLine], metric: str) -> tuple[list[GroupLine], int, list[str]]:
    """Return the lines with their paired differences, how many there are, and why some are not."""
    differences, unpaired = _find_all_differences(lines, metric)
    level = bonferroni_level(len(differences))
    alike: dict[str, list[int]] = {}
    for place in differences:
        alike.setdefault(lines[place].group.target, []).append(place)
    sure: dict[int, GainInterval] = {}
    for places in alike.values():
        answers = GainInterval.of([differences[place] for place in places], level=level)
        sure |= dict(zip(places, answers, strict=True))
    found_lines = []
    for place, line in enumerate(lines):
        paired = None
        if place in sure:
            values = differences[place].values
            paired = Paired(float(values.mean()), sure[place].interval, _find_effect(values))
        found_lines.append(GroupLine(**{**vars(line), "paired": paired}))
    notes = [
        f"no paired difference of {names[0] if len(names) == 1 else f'{len(names)} groups'}: {why}"
        for why, names in unpaired.items()
    ]
    return found_lines, len(differences), [*notes, *note_few(lines, differences)]


def _find_all_differences(
    lines: Sequence[GroupLine], metric: str
) -> tuple[dict[int, Differences], dict[str, list[str]]]:
    """Return the place of a line to its differences to the best line of its target.

    Also returns why some have none, with the names of their groups.
    """
    differences: dict[int, Differences] = {}
    unpaired: dict[str, list[str]] = {}
    best_of = {line.group.target: line for line in reversed(lines) if line.is_best}
    for place, line in enumerate(lines):
        best = best_of.get(line.group.target)
        if best is None or line is best:
            continue
        try:
            found = _find_differences(best.group, line.group)
        except DataError as error:
            unpaired.setdefault(error.message, []).append(line.group.name)
            continue
        if found.metric != metric:
            why = f"scores of test rows are kept of {found.metric}, not of {metric}"
            unpaired.setdefault(why, []).append(line.group.name)
            continue
        differences[place] = found
    return differences, unpaired


def _find_effect(values: Floats) -> float | None:
    """Return Cohen's d of paired differences: their mean over their standard deviation."""
    if len(values) < 2 or not (spread := float(values.std(ddof=1))) > 1e-12:
        return None
    return float(values.mean()) / spread


def _find_differences(best: RunGroup, group: RunGroup) -> Differences:
    """Return a group minus the best, seed by seed and fold by fold, on the same test rows.

    Raises:
        DataError: They have no seed in common, or were tested on other rows.
    """
    draws = [{run.draw: run.directory for run in each.runs} for each in (best, group)]
    if any(len(found) < len(each.runs) for found, each in zip(draws, (best, group), strict=True)):
        raise DataError("it, or the best, has several runs of one seed")
    if not draws[0].keys() & draws[1].keys():
        raise DataError("it has no seed or fold in common with the best")
    common = find_common(draws)
    before, after = (
        Side(each.name, [runs[draw] for draw in common])
        for each, runs in zip((best, group), draws, strict=True)
    )
    return pair_sides(before, after)
