"""The answer of a sweep: on each of its targets, the group that is best on validation.

Groups of different targets are not compared: a target that is easier is no better.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmx.metrics import find_direction
from mmx.reports.sweep_gains import Gains, format_percent
from mmx.runs.sweep_row import SweepRow, group_runs, keep_finished

PREFERRED = ("accuracy", "r2", "f1_macro")
"""Metrics that count where no run says which does."""


@dataclass(frozen=True)
class SweepGroup:
    """Runs that differ in seed or fold alone.

    Attributes:
        label: Varied key to value.
        rows: Its finished runs.
        val, test: Means of the metric on both splits.
    """

    label: dict[str, str]
    rows: list[SweepRow]
    val: float
    test: float

    @property
    def name(self) -> str:
        """The group as one would type it."""
        return _join(self.label) or "all runs"

    @property
    def name_on_target(self) -> str:
        """The group as one would type it, without its target."""
        return _join({key: value for key, value in self.label.items() if key != "target"})


def _join(label: dict[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in label.items())


@dataclass(frozen=True)
class TargetAnswer:
    """What a sweep found on one of its targets.

    Attributes:
        target: The target.
        metric: The metric that counts; None where its runs have none in common.
        lower: Whether smaller values of it are better.
        groups: Those whose runs all have it.
        best: The group that is best on validation; None where none is.
        gains: Of its groups.
    """

    target: str
    metric: str | None
    lower: bool
    groups: list[SweepGroup]
    best: SweepGroup | None
    gains: Gains

    @property
    def has_choice(self) -> bool:
        """Whether the best was chosen among several groups."""
        return len(self.groups) > 1


def list_target_answers(rows: Sequence[SweepRow], gains: Gains) -> list[TargetAnswer]:
    """Return the answer of each target of a sweep's finished runs."""
    targets = dict.fromkeys(str(row.cells.get("target", "")) for row in keep_finished(rows))
    found = []
    for target in targets:
        own = [row for row in keep_finished(rows) if str(row.cells.get("target", "")) == target]
        labels = [dict(row.group) for row in own]
        theirs = tuple(each for each in gains.found if each.group in labels)
        found.append(_find_answer(target, own, replace(gains, found=theirs)))
    return found


def _find_answer(target: str, rows: Sequence[SweepRow], gains: Gains) -> TargetAnswer:
    metric = find_metric(rows, gains)
    groups = [] if metric is None else list_compared_groups(rows, metric)
    lower = metric is not None and is_lower_better(rows, gains, metric)
    best = find_best_group(groups, lower=lower)
    return TargetAnswer(target, metric, lower, groups, best, gains)


def find_metric(rows: Sequence[SweepRow], gains: Gains) -> str | None:
    """Return the metric that counts: that of the gains, or a usual one that all runs have."""
    if gains.found:
        return gains.found[0].gain.metric
    names = [
        key.removeprefix("val.")
        for key in (rows[0].cells if rows else ())
        if key.startswith("val.") and all(key in row.cells for row in rows)
    ]
    stated = [str(row.cells["metric"]) for row in rows if "metric" in row.cells]
    return next((name for name in (*stated, *PREFERRED, *names) if name in names), None)


def is_lower_better(rows: Sequence[SweepRow], gains: Gains, metric: str) -> bool:
    """Return whether a smaller value of the metric that counts is better."""
    stated = [each.gain.lower_is_better for each in gains.found if each.gain.metric == metric]
    own = [row.cells for row in rows if row.cells.get("metric") == metric]
    stated += [bool(cells.get("lower_is_better")) for cells in own]
    return any(stated) or bool(find_direction(metric))


def list_compared_groups(rows: Sequence[SweepRow], metric: str) -> list[SweepGroup]:
    """Return the groups whose runs all have a metric on validation, with their means."""
    found = []
    for label, members in group_runs(rows).items():
        means = [_find_mean(members, f"{split}.{metric}") for split in ("val", "test")]
        if means[0] is not None and means[1] is not None:
            found.append(SweepGroup(dict(label), members, means[0], means[1]))
    return found


def _find_mean(rows: Sequence[SweepRow], key: str) -> float | None:
    numbers = [each for row in rows if (each := row.find_number(key)) is not None]
    return statistics.fmean(numbers) if len(numbers) == len(rows) else None


def find_best_group(groups: Sequence[SweepGroup], *, lower: bool) -> SweepGroup | None:
    """Return the group that is best on validation, where ``lower`` values are better or not."""
    sign = -1 if lower else 1
    known = [group for group in groups if math.isfinite(group.val)]
    return max(known, key=lambda group: sign * group.val, default=None)


def write_sweep_headline(answers: Sequence[TargetAnswer]) -> str:
    """Return the answer as one sentence."""
    known = [(each, each.best) for each in answers if each.best is not None]
    if not known:
        return "No metric to compare the runs by" if answers else "No run is done yet"
    if len(answers) == 1:
        answer, best = known[0]
        return f"Best by validation: {best.name}, {_write_result(answer, best)}"
    if not any(each.has_choice for each in answers):
        return "; ".join(f"{each.target}: {_write_result(each, best)}" for each, best in known)
    parts = [
        f"{best.name_on_target or 'all runs'} on {answer.target} ({_write_result(answer, best)})"
        for answer, best in known
    ]
    return f"Best by validation: {'; '.join(parts)}"


def _write_result(answer: TargetAnswer, best: SweepGroup) -> str:
    """Return the metric of the best on test, and its gain."""
    text = f"{answer.metric} {best.test:.3f} on test"
    own = [each.gain for each in answer.gains.found if each.group == best.label]
    return f"{text}, {own[0].value:+.3f} over the {own[0].control} control" if own else text


def write_lead(answers: Sequence[TargetAnswer], gains: Gains) -> str:
    """Return what the gains say together, or how the best was found."""
    if gains.found:
        return _count_clear(gains)
    known = [(each, each.best) for each in answers if each.best is not None]
    several = len(answers) > 1
    parts = [
        f"{answer.metric} {best.val:.3f}{f' on {answer.target}' if several else ''}"
        for answer, best in known
    ]
    chose = ", which chose it" if len(known) == 1 else ", which chose them"
    if several and not any(each.has_choice for each in answers):
        chose = ""
    return f"On validation{chose}: {', '.join(parts)}." if parts else ""


def _count_clear(gains: Gains) -> str:
    clear = [each for each in gains.found if each.gain.learned and each.gain.interval]
    up = sum(each.gain.interval is not None and each.gain.interval[0] > 0 for each in clear)
    down = sum(each.gain.interval is not None and each.gain.interval[1] < 0 for each in clear)
    count = len(gains.found)
    return (
        f"{up} of {count} gains {'is' if up == 1 else 'are'} clearly positive, {down} clearly "
        f"negative ({format_percent(gains.level)} intervals, which all hold together in 95 % of "
        "cases)."
    )
