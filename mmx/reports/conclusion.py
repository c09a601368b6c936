"""What an answer means, in one sentence, and a command to try next: the end of ``mmx train``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmx.reports.group_gain import GroupGain
from mmx.reports.headline import NO_SOURCE, format_gain_over, write_headline
from mmx.reports.next_command import Typed, advise_after_run, advise_after_sweep
from mmx.reports.sweep_gains import Gains
from mmx.runs.summary import Summary


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
        why = "no control was trained"
        if summary.source.task in NO_SOURCE:
            why = "there is no source and no other control"
        return f"{said}; {why}, so no gain is stated."
    others = _say_others(summary)
    if not gain.learned or gain.interval is None:
        return f"{said}{others}."
    low, high = gain.interval
    if low != low or high != high:  # NaN
        return f"{said}; a metric is no number{others}."
    if low <= 0 <= high:
        return f"{said}, and the interval includes zero{others}."
    return f"{said}, and the interval excludes zero for these test rows and this seed{others}."


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
    return [*lines, *([f"next: {advice}"] if advice else [])]


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
