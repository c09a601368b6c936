"""The command to try next at the end of ``mmx train``: one that works as it stands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmx.controls import find_control
from mmx.json_object import Json
from mmx.quoting import type_override
from mmx.reports.group_gain import GroupGain
from mmx.reports.headline import NO_SOURCE
from mmx.reports.sweep_gains import Gains
from mmx.reports.sweep_groups import can_be_compared
from mmx.runs.summary import Summary
from mmx.stage_id import Role

PLACES = ("hydra.run.dir", "hydra.sweep.dir")
ONE_LINE = ("-m", "--multirun", "budget", *PLACES)
"""Words of a command line that are left out of the command to try next."""
SEEDS = "seed=1,2,3"
MODES = "transfer=parameter,feature"
MORE_EPOCHS = 3
"""How many times as many epochs are advised where nothing is better than chance."""
MORE_SEEDS = 2
"""The same of seeds, where it is not known how many would decide."""


@dataclass(frozen=True)
class Typed:
    """A command line of ``mmx train``, and the config of a run that it made.

    Attributes:
        argv: The line.
        config: The config.
    """

    argv: Sequence[str]
    config: Json = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        """Whether it is one of ``mmx train``: that of ``mmx matrix`` has words of its own."""
        return list(self.argv[:2]) == ["mmx", "train"]

    @property
    def keys(self) -> set[str]:
        """The keys that were typed."""
        return {_find_key(word) for word in self.argv[2:]}

    def keep(self, *left_out: str) -> list[str]:
        """Return its words, without some keys and without those of this line alone."""
        return [word for word in self.argv[2:] if _find_key(word) not in (*ONE_LINE, *left_out)]

    def find(self, group: str, key: str) -> object:
        """Return a value of the config; None where there is none."""
        node = self.config.get(group)
        return node.get(key) if isinstance(node, dict) else None


def _find_key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def advise_after_run(summary: Summary, typed: Typed) -> str:
    """Return a command to try after a run, and what it tells."""
    gain, has_source = summary.gain, summary.source.task not in NO_SOURCE
    if gain is None and (name := _find_control(summary)):
        command = ["mmx", "train", *typed.keep("control"), f"control={name}"]
        return f"{shlex.join(command)}   (whether it is better than a control)"
    if gain is not None and not gain.learned:
        return _advise_at_chance(typed)
    words = typed.keep("seed", "seeds")
    hurts = gain is not None and gain.interval is not None and gain.interval[1] < 0
    groups = {key.partition(".")[0] for key in typed.keys}
    if hurts and has_source and not groups & {"transfer", "regularizer"}:
        command = ["mmx", "train", "-m", *words, MODES, SEEDS]
        return f"{shlex.join(command)}   (whether another transfer mode helps)"
    command = ["mmx", "train", "-m", *words, SEEDS]
    return f"{shlex.join(command)}   (whether it holds for other seeds)"


def _find_control(summary: Summary) -> str:
    """Return the control that tells most of a run without any; empty where none fits."""
    if not summary.target.every_metric:  # it learned without labels
        return ""
    if summary.source.task not in NO_SOURCE:
        return "scratch"
    return "unimodal" if has_several_inputs(summary) else "majority"


def has_several_inputs(summary: Summary) -> bool:
    """Return whether the target of a run reads more than one input."""
    card = summary.data_cards.get(Role.TARGET)
    return card is not None and len(card.inputs) > 1


def _advise_at_chance(typed: Typed) -> str:
    """Return a command with more labels, or more epochs where all labels are in use."""
    for key in ("fraction", "per_class"):
        if typed.find("target", key) not in (None, 1) and "curve" not in typed.keys:
            words = [*_keep_sweep(typed, f"target.{key}"), f"target.{key}=null"]
            return f"{shlex.join(['mmx', 'train', *words])}   (whether more labels are enough)"
    epochs = typed.find("trainer", "epochs")
    more = MORE_EPOCHS * epochs if isinstance(epochs, int) else 30
    words = [*_keep_sweep(typed, "trainer.epochs"), f"trainer.epochs={more}"]
    return f"{shlex.join(['mmx', 'train', *words])}   (whether more epochs are enough)"


def _keep_sweep(typed: Typed, changed: str) -> list[str]:
    """Return the words of a line without one key; it stays a sweep where it is one."""
    flags = ["-m"] if {"-m", "--multirun"} & {*typed.argv} else []
    return [*flags, *typed.keep(changed)]


def advise_after_sweep(gains: Gains, path: Path, typed: Typed, one: Summary) -> str:
    """Return a command to try after a sweep, and what it tells.

    Args:
        gains: Of its groups.
        path: Its folder.
        typed: The line that ran it, and the config of one of its runs.
        one: The summary of that run.
    """
    if typed.trains and not any(each.gain.learned for each in gains.found):
        return _advise_at_chance(typed)
    if can_be_compared(path):
        return f"{shlex.join(['mmx', 'compare', str(path)])}   (groups side by side)"
    if typed.trains and _fills_matrix(gains, one):
        command = ["mmx", "matrix", str(path)]
        return f"{shlex.join(command)}   (every source on every target)"
    if typed.trains and (text := _advise_seeds(gains, path, typed)):
        return text
    return _advise_suite(path, one)


def _advise_suite(path: Path, one: Summary) -> str:
    """Return a command that measures the trained models under worse inputs."""
    several = has_several_inputs(one)
    suite, what = ("missing", "without some inputs") if several else ("noise", "with noisy inputs")
    command = ["mmx", "eval", str(path), f"suite={suite}"]
    return f"{shlex.join(command)}   (how it does {what})"


def _fills_matrix(gains: Gains, one: Summary) -> bool:
    """Return whether a sweep has gains of a source on several targets."""
    over_scratch = [each for each in gains.found if find_control(each.gain.control).without_source]
    targets = {each.group.get("target") for each in over_scratch}
    return len(targets) > 1 and one.source.task not in NO_SOURCE


def advise_without_control(runs: Sequence[Summary], path: Path, typed: Typed) -> str:
    """Return a command to try after a sweep that has no gains, and what it tells.

    Args:
        runs: The summary of one run of each group.
        path: Its folder.
        typed: The line that ran it, and the config of one of its runs.
    """
    with_source = [each for each in runs if each.source.task not in NO_SOURCE]
    narrow = [each for each in runs if not has_several_inputs(each)]
    name = _find_control((with_source or narrow or [*runs])[0])
    if typed.trains and name:
        command = ["mmx", "train", "-m", *typed.keep("control"), f"control={name}"]
        return f"{shlex.join(command)}   (whether it is better than a control)"
    if can_be_compared(path):
        return f"{shlex.join(['mmx', 'compare', str(path)])}   (groups side by side)"
    return _advise_suite(path, (narrow or [*runs])[0])


def _advise_seeds(gains: Gains, path: Path, typed: Typed) -> str:
    """Return a command with more seeds for a group without a verdict; empty where none helps.

    It goes on in the folder of the sweep, so that what is done is not run again.
    """
    for each in filter(_is_open, gains.found):
        if (count := _count_seeds(each)) is None:
            continue
        first, over = min(each.seeds), f"over the {each.gain.control} control"
        words = typed.keep("seed", "seeds")
        words += [f"seed={first}"] if first or "seed" in typed.keys else []
        words += [f"seeds={count}", type_override("hydra.sweep.dir", str(path))]
        what = "more" if each.deciding is None else str(each.deciding)
        command = shlex.join(["mmx", "train", "-m", *words])
        return f"{command}   (a narrower interval {over}; {what} would decide)"
    return ""


def _is_open(each: GroupGain) -> bool:
    """Return whether a gain has no verdict that more seeds could not give."""
    ends = each.gain.interval
    return each.gain.learned and (ends is None or ends[0] <= 0 <= ends[1])


def _count_seeds(each: GroupGain) -> int | None:
    """Return how many seeds a group should have; None where seeds do not help, as over folds."""
    had, needed = len(set(each.seeds)), each.deciding
    if each.folds or (needed is not None and needed.samples):
        return None
    known = needed is not None and needed.seeds is not None and needed.seeds > had
    return needed.seeds if needed is not None and known else MORE_SEEDS * had
