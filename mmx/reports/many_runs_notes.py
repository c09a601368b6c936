"""What a reader must know of how a comparison of many runs was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmx.evaluation.gain_intervals import Differences
from mmx.printable import shorten
from mmx.reports.group_line import GroupLine
from mmx.reports.run_groups import RunGroup, find_confounded, find_mixed

MOST = 6
"""Settings, and values of one, that a note names."""
MOST_CHARACTERS = 60
"""Of a value: that of a whole option is a mapping of all its keys."""


def note_few(lines: Sequence[GroupLine], differences: Mapping[int, Differences]) -> list[str]:
    """Return which differences are of one seed, or of fewer seeds than the means."""
    alone, fewer = [], []
    for place, found in differences.items():
        name, target = lines[place].group.name, lines[place].group.target
        (best,) = (x for x in lines if x.is_best and x.group.target == target)
        if len(found.values) == 1:
            alone.append(name)
        if len(found.values) < max(len(x.test.values) for x in (best, lines[place])):
            fewer.append(name)
    texts = {
        "one seed: its interval is over test rows alone, not over seeds": alone,
        "the seeds or folds alone that it has in common with the best": fewer,
    }
    return [
        f"the difference of {names[0] if len(names) == 1 else f'each of {len(names)} groups'} is "
        f"over {what}"
        for what, names in texts.items()
        if names
    ]


def note_undefined(lines: Sequence[GroupLine], metric: str) -> list[str]:
    """Return how many runs have no value of the metric."""
    means = [(split, mean) for x in lines for split, mean in (("test", x.test), ("val", x.val))]
    counts = dict.fromkeys(("test", "val"), 0)
    for split, mean in means:
        counts[split] += int(np.isnan(mean.values).sum())
    names = {"test": "test", "val": "validation"}
    return [
        f"{metric} is undefined on {names[split]} rows in {count} of "
        f"{sum(len(mean.values) for each, mean in means if each == split)} cases (nan), so their "
        "groups are last and not chosen"
        for split, count in counts.items()
        if count
    ]


def note_controls(lines: Sequence[GroupLine]) -> list[str]:
    """Return over which controls gains are, where they differ."""
    runs = [run for line in lines if line.gain is not None for run in line.group.runs]
    over = dict.fromkeys(run.summary.gain.control for run in runs if run.summary.gain is not None)
    return [f"gains are over different controls ({', '.join(over)})"] if len(over) > 1 else []


def note_confounded(groups: Sequence[RunGroup]) -> list[str]:
    """Return in what groups differ beyond what names them."""
    found = find_confounded(groups)
    return [f"groups differ in more than their names say: {_list_settings(found)}"] if found else []


def note_mixed(groups: Sequence[RunGroup]) -> list[str]:
    """Return what means are taken over, beyond seeds and folds."""
    found: dict[str, list[str]] = {}
    for group in groups:
        for key, values in find_mixed(group).items():
            found[key] = list(dict.fromkeys([*found.get(key, []), *values]))
    return [f"means are also over {_list_settings(found)}"] if found else []


def _list_settings(found: Mapping[str, Sequence[str]]) -> str:
    """Return settings with their values, and how many more there are."""
    texts = [f"{key} ({_list_values(values)})" for key, values in found.items()]
    more = f" and {len(texts) - MOST} more" if len(texts) > MOST else ""
    return ", ".join(texts[:MOST]) + more


def _list_values(values: Sequence[str]) -> str:
    more = ", …" if len(values) > MOST else ""
    return ", ".join(shorten(each, MOST_CHARACTERS) or "none" for each in values[:MOST]) + more
