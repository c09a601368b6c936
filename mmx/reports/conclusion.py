"""What an answer means, in one sentence, and a command to try next: the end of ``mmx train``."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmx.metrics import find_direction
from mmx.reports.group_gain import GroupGain
from mmx.reports.headline import NO_SOURCE, find_main_metric, format_gain_over, write_headline
from mmx.reports.next_command import (
    Typed,
    advise_after_run,
    advise_after_sweep,
    advise_without_control,
)
from mmx.reports.sweep_gains import Gains
from mmx.reports.view import format_metric
from mmx.runs.summary import Summary
from mmx.runs.sweep_row import GroupLabel


def conclude_run(summary: Summary, typed: Typed) -> list[str]:
    """Return what a run's answer means, and what to try next.

    Args:
        summary: Of a finished run.
        typed: The command line that made it, and its config.
    """
    return [f"answer: {_say_answer(summary)}", f"next: {advise_after_run(summary, typed)}"]


def _say_answer(summary: Summary) -> str:
    gain, said = summary.gain, write_headline(summary)
    if gain is None:
        return f"{said}; {_say_no_gain([summary])}."
    others = _say_others(summary)
    if not gain.learned or gain.interval is None:
        return f"{said}{others}."
    low, high = gain.interval
    if low != low or high != high:  # NaN
        return f"{said}; a metric is no number{others}."
    if low <= 0 <= high:
        return f"{said}, and the interval includes zero{others}."
    return f"{said}, and the interval excludes zero for these test rows and this seed{others}."


def _say_no_gain(runs: Sequence[Summary]) -> str:
    why = "no control was trained"
    if all(each.source.task in NO_SOURCE for each in runs):
        why = "there is no source and no other control"
    return f"{why}, so no gain is stated"


def _say_others(summary: Summary) -> str:
    """Return the verdicts over the controls that the sentence is not about."""
    main = "" if summary.gain is None else summary.gain.control
    found = [f"{name} ({each.verdict})" for name, each in summary.gains.items() if name != main]
    return f"; over other controls: {', '.join(found)}" if found else ""


def conclude_sweep(gains: Gains, path: Path, typed: Typed, one: Summary) -> list[str]:
    """Return what the gains of a sweep mean together, and what to try next.

    Args:
        gains: Of its groups, at least one.
        path: Its folder.
        typed: The line that ran it, and the config of one of its runs.
        one: The summary of that run.
    """
    lines = []
    for control in dict.fromkeys(each.gain.control for each in gains.found):
        found = [each for each in gains.found if each.gain.control == control]
        lines.append(f"answer: {_say_groups(found, control)}.")
    advice = advise_after_sweep(gains, path, typed, one)
    return [*lines, f"next: {advice}"]


def conclude_without_control(
    groups: Mapping[GroupLabel, Sequence[Summary]], path: Path, typed: Typed
) -> list[str]:
    """Return which group of a sweep without a control is best, and what to try next.

    Args:
        groups: Varied keys with their values to the summaries of the runs.
        path: Its folder.
        typed: The line that ran it, and the config of one of its runs.
    """
    targets: dict[str, dict[str, Sequence[Summary]]] = {}
    for label, runs in groups.items():
        words = [f"{key}={value}" for key, value in label if key != "target"]
        targets.setdefault(runs[0].target.task, {})[" ".join(words)] = runs
    firsts = [runs[0] for runs in groups.values()]
    lines = [
        f"answer: {_say_best(target, found)}; {_say_no_gain(firsts)}."
        for target, found in targets.items()
    ]
    advice = advise_without_control(firsts, path, typed)
    return [*lines, f"next: {advice}"]


def _say_best(target: str, groups: Mapping[str, Sequence[Summary]]) -> str:
    """Return the result of the group that is best on validation, or of the only one."""
    metric, _ = find_main_metric(next(iter(groups.values()))[0])
    name, runs = next(iter(groups.items()))
    said = target
    if len(groups) > 1:
        sign = -1 if find_direction(metric) else 1
        values = {each: _find_mean(found, "val", metric) for each, found in groups.items()}
        known = {each: sign * value for each, value in values.items() if math.isfinite(value)}
        if not known:
            return f"{target}: none of {len(groups)} groups has {metric} on validation"
        name = max(known, key=known.__getitem__)
        runs = groups[name]
        said = f"{target}: {name} is best by validation of {len(groups)} groups"
    mean = format_metric(metric, _find_mean(runs, "test", metric))
    over = f", mean of {len(runs)} runs" if len(runs) > 1 else ""
    return f"{said}{',' if len(groups) > 1 else ':'} {metric} {mean} on test{over}"


def _find_mean(runs: Sequence[Summary], split: str, metric: str) -> float:
    """Return the mean of a metric; NaN where a run lacks it."""
    return statistics.fmean(each.target.metrics[split].get(metric, math.nan) for each in runs)


def _say_groups(found: Sequence[GroupGain], control: str) -> str:
    """Return the verdict of one group over a control, or how many groups have which."""
    if len(found) == 1:
        return _say_group(found[0])
    learned = [each for each in found if each.gain.learned]
    known = [ends for each in learned if (ends := each.gain.interval) is not None]
    better = sum(low > 0 for low, _ in known)
    worse = sum(high < 0 for _, high in known)
    parts = [f"{better} clearly better than the {control} control", f"{worse} clearly worse"]
    parts.append(f"{len(learned) - better - worse} not clear")
    if chance := len(found) - len(learned):
        parts.append(f"{chance} without an answer: neither is better than chance")
    return f"of {len(found)} groups, {', '.join(parts[:-1])}, and {parts[-1]}"


def _say_group(each: GroupGain) -> str:
    gain = each.gain
    if not gain.learned:
        means = f"target {each.target:.3f}, {gain.control} control {each.control:.3f}"
        return f"{gain.verdict} ({means} {gain.metric} over {each.over})"
    return f"{gain.verdict} ({format_gain_over(gain)} the {gain.control} control, over {each.over})"
