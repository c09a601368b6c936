"""What an answer means, in one sentence, and a command to try next: the end of ``mmx train``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from mmx.reports.group_gain import GroupGain
from mmx.reports.headline import NO_SOURCE, write_headline
from mmx.reports.sweep_gains import Gains
from mmx.runs.summary import Summary

ONE_RUN = ("seed", "seeds", "jobs", "hydra.run.dir")
"""Keys of a command line that are left out of the command to try next."""
SEEDS = "seed=1,2,3"
MODES = "transfer=parameter,feature"


def conclude_run(summary: Summary, argv: Sequence[str]) -> list[str]:
    """Return what a run's answer means, and what to try next.

    Args:
        summary: Of a finished run.
        argv: The command line of ``mmx train`` that made it.
    """
    return [f"answer: {_say_answer(summary)}", f"next: {_advise(summary, argv)}"]


def _say_answer(summary: Summary) -> str:
    gain, said = summary.gain, write_headline(summary)
    if gain is None:
        why = "no control was trained"
        if summary.source.task in NO_SOURCE:
            why = "there is no source"
        return f"{said}; {why}, so no gain is stated."
    if not gain.learned or gain.interval is None:
        return f"{said}."
    low, high = gain.interval
    if low != low or high != high:  # NaN
        return f"{said}; a metric is no number."
    if low <= 0 <= high:
        return f"{said}, and the interval includes zero."
    return f"{said}, and the interval excludes zero for these test rows and this seed."


def _advise(summary: Summary, argv: Sequence[str]) -> str:
    """Return a command, and what it tells."""
    words = [word for word in argv[2:] if word.lstrip("+~").partition("=")[0] not in ONE_RUN]
    gain = summary.gain
    typed = {word.partition("=")[0].partition(".")[0] for word in words}
    hurts = gain is not None and gain.interval is not None and gain.interval[1] < 0
    if hurts and summary.source.task not in NO_SOURCE and not typed & {"transfer", "regularizer"}:
        command = ["mmx", "train", "-m", *words, MODES, SEEDS]
        return f"{shlex.join(command)}   (whether another transfer mode helps)"
    command = ["mmx", "train", "-m", *words, SEEDS]
    return f"{shlex.join(command)}   (whether it holds for other seeds)"


def conclude_sweep(gains: Gains, path: Path) -> list[str]:
    """Return what the gains of a sweep mean together, and what to try next."""
    lines = []
    for control in dict.fromkeys(each.gain.control for each in gains.found):
        found = [each for each in gains.found if each.gain.control == control]
        lines.append(f"answer: {_say_groups(found, control)}.")
    return [*lines, f"next: mmx compare {shlex.quote(str(path))}   (groups side by side)"]


def _say_groups(found: Sequence[GroupGain], control: str) -> str:
    """Return how many groups are clearly better or worse than a control."""
    intervals = [each.gain.interval for each in found if each.gain.learned]
    known = [ends for ends in intervals if ends is not None]
    better = sum(low > 0 for low, _ in known)
    worse = sum(high < 0 for _, high in known)
    if len(found) == 1:
        gain = found[0].gain
        amount = f"{gain.value:+.3f} {gain.metric} over {found[0].over}"
        how = "is better than" if better else "is worse than" if worse else "is not clearly unlike"
        return f"the target {how} the {control} control: {amount}"
    clear = f"{better} clearly better than the {control} control, {worse} clearly worse"
    return f"of {len(found)} groups, {clear}, and {len(found) - better - worse} not clear"
