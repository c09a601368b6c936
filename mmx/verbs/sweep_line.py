"""The recorded command line of a sweep: what of it counts when somebody else goes on with it.

The files of a sweep may come from anybody. Of its line only what describes the experiment counts
by itself: which code may run, where something is written, fetched or told, on how many processes
and machines, is for the person who types. What is not known to be harmless is refused by name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from mmx.config.hydra_node import DIRECTORY_KEYS, LAUNCHER_GROUP, OF_LAUNCHER, is_hydra_key
from mmx.config.locate import list_groups
from mmx.config.override_keys import list_override_keys
from mmx.errors import ConfigError, RunError, UsageError
from mmx.experiment.opener import IN_NODES, is_openers_key
from mmx.experiment.settings import LAUNCH_KEYS, Settings
from mmx.runs.essence import HOW_NOT_WHAT, WHERE_NOT_WHAT
from mmx.runs.stored_sweep import StoredJob, StoredSweep
from mmx.trackers import TOLD
from mmx.verbs.opening import read_key

if TYPE_CHECKING:
    from mmx.verbs.preflight import Job

SEARCH_KEYS = ("trials", "sampler", "pruner")
PERSONS = {*WHERE_NOT_WHAT, *TOLD, "device", "jobs", "processes"}
"""Root keys that only the person who types decides."""
IN_PARTS = {*IN_NODES, *HOW_NOT_WHAT} - {"threads"}  # on which sums depend, as for mmx reproduce
"""Last parts of keys that only the person who types decides."""
OF_THE_SWEEP = ("output_dir", "hydra.sweep.dir")
"""Keys of the sweep's own directory, which is the one that was named."""
HARMLESS = {
    "cache": ("off", "auto"),
    "download": ("false",),
    "tracker": ("none",),
    "device": ("auto", "cpu"),
    "jobs": ("auto", "1"),
    "processes": ("1",),
    LAUNCHER_GROUP: ("basic",),
}
"""Values of guarded keys that need not be typed again: they ask for nothing, or for the least."""
HARMLESS_IN_PARTS = {"download": ("false",), "workers": ("0",)}
KEPT_FLAGS = ("-m", "--multirun")
KEPT_FLAGS_WITH_VALUE = ("--metric", "--format")
PLACE_FLAGS = {"--allow": "--allow", "--config-dir": "--config-dir", "-cd": "--config-dir"}
"""Flags that the person who goes on may type again, by the name that ``mmx sweep`` has for it."""
_KEY = re.compile(r"[\w-]+(?:[./][\w-]+)*")


@dataclass(frozen=True)
class Continuation:
    """A sweep of ``mmx train`` that goes on.

    Attributes:
        path: Its directory.
        jobs: Those of its plan.
        line: The command line by which it goes on.
        only: The places in the plan of the jobs to run; None for all that are not done.
    """

    path: Path
    jobs: Sequence[StoredJob]
    line: Sequence[str]
    only: Sequence[int] | None = None

    def choose_jobs(self, found: Sequence[Job]) -> Sequence[Job]:
        """Return those of all jobs that are to run."""
        return found if self.only is None else [found[place] for place in self.only]

    def choose_line(
        self, argv: Sequence[str], overrides: Sequence[Sequence[str]], keys: Sequence[str]
    ) -> Sequence[str]:
        """Return the command line to record, after checking that the jobs are those of the plan.

        Args:
            argv: The line that is recorded.
            overrides: Those of each job that the line makes now.
            keys: Their keys; see :class:`~mmx.runs.standing.Wanted`.

        Raises:
            RunError: They are other jobs, which would take the place of those of the plan.
        """
        if [job.key for job in self.jobs] == list(keys):
            return argv
        was, now = [_describe(job.overrides) for job in self.jobs], [*map(_describe, overrides)]
        if was != now:
            raise RunError(
                f"the command line of {self.path} now makes other jobs than its plan has "
                f"({len(now)}, and the plan has {len(was)}), which would take their place",
                tip=shlex.join(self.line),
            )
        return self.line  # data or weights have moved


def _describe(overrides: Sequence[str]) -> list[str]:
    """Return the overrides of a job that say what it is, and not where and how it runs."""
    return sorted(word for word in overrides if not may_change(word))


def may_change(word: str) -> bool:
    """Return whether an override changes where and how jobs run, and not which they are."""
    key = read_key(word)
    if key in (*OF_THE_SWEEP, *DIRECTORY_KEYS):
        return False
    own = is_openers_key(key) or key in LAUNCH_KEYS or is_hydra_key(word)
    return own or key.rpartition(".")[2] in IN_PARTS


def make_words(found: StoredSweep, what: str, typed: Sequence[str]) -> list[str]:
    """Return the words by which a sweep goes on: the harmless ones of its line, and those typed.

    Args:
        found: The sweep.
        what: The word of ``mmx sweep``, for advice.
        typed: What was typed after the sweep's name.

    Raises:
        UsageError: Words of the line have to be typed again, or a typed word changes the jobs.
    """
    kept = _take_harmless(found, what, typed)
    again = {read_key(word) for word in typed}
    words = [*(word for word in kept if read_key(word) not in again), *typed]
    recorded, verb = set(found.argv), found.argv[1]
    for word in typed:
        more = verb == "search" and read_key(word) == "trials"
        if "=" in word and not (word.startswith("-") or may_change(word) or word in recorded):
            if more:
                continue
            raise UsageError(
                f"{word}: mmx sweep {what} goes on with the jobs of a sweep as they are; "
                "with other settings they are another sweep",
                tip=shlex.join(["mmx", verb, *words]),
            )
    return words


def _take_harmless(found: StoredSweep, what: str, typed: Sequence[str]) -> list[str]:
    """Return the words of a recorded line that count without being typed again.

    Raises:
        UsageError: Others have not been typed.
    """
    flags, overrides = _sort_flags(found.argv[2:])
    kept = [flag for flag, value in flags if flag in KEPT_FLAGS and value is None]
    kept += [f"{flag}={value}" for flag, value in flags if flag in KEPT_FLAGS_WITH_VALUE]
    missing = [*_find_untyped_flags(found, flags, typed)]
    roots, again = _list_experiment_roots(found.argv[1]), {read_key(word) for word in typed}
    for word in _drop_replaced(overrides, typed):
        if _is_harmless(word, roots):
            kept.append(word)
        elif read_key(word) not in again:
            missing.append(shlex.quote(word))
    if missing:
        line = " ".join(missing)
        raise UsageError(
            f"the command line of {found.path} has {line}, which counts only where you type it",
            tip=f"mmx sweep {what} {_find_name(found)} {line}",
        )
    return kept


def _drop_replaced(overrides: Sequence[str], typed: Sequence[str]) -> list[str]:
    """Return overrides without the sweep's directory and the options of a replaced launcher."""
    launchers = [word for word in typed if read_key(word) == LAUNCHER_GROUP]
    replaced = not set(launchers) <= set(overrides)
    return [
        word
        for word in overrides
        if read_key(word) not in OF_THE_SWEEP
        and not (replaced and read_key(word).startswith(OF_LAUNCHER))
    ]


def _find_name(found: StoredSweep) -> str:
    """Return what names a sweep on a command line: its id, or else its directory."""
    place, own = found.path, Path("outputs", "sweeps", found.path.name)
    return place.name if place.absolute() == own.absolute() else shlex.quote(str(place))


def _sort_flags(words: Sequence[str]) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Return the flags of a line with their values, and its overrides."""
    flags, overrides, rest = list[tuple[str, str | None]](), list[str](), list(words)
    while rest:
        word = rest.pop(0)
        flag, glued, value = word.partition("=")
        if not word.startswith("-"):
            overrides.append(word)
        elif glued:
            flags.append((flag, value))
        else:
            takes = flag in PLACE_FLAGS or flag in KEPT_FLAGS_WITH_VALUE
            flags.append((flag, rest.pop(0) if takes and rest else None))
    return flags, overrides


def _find_untyped_flags(
    found: StoredSweep, flags: Sequence[tuple[str, str | None]], typed: Sequence[str]
) -> Iterator[str]:
    """Yield the flags of a line that count only where they are typed, and are not."""
    folders = []
    for flag, value in flags:
        name = PLACE_FLAGS.get(flag)
        if name == "--config-dir":
            folders.append(str(Path(found.cwd or "") / (value or "")))
        elif name is not None and f"{name}={value}" not in typed:
            yield f"{name} {shlex.quote(value or '')}"
        elif name is None and flag not in (*KEPT_FLAGS_WITH_VALUE, *KEPT_FLAGS):
            yield shlex.quote(flag if value is None else f"{flag}={value}")
    own = [word for word in typed if word.startswith("--config-dir=")]
    for folder in folders[len(own) :]:
        yield f"--config-dir {shlex.quote(folder)}"


def _list_experiment_roots(verb: str) -> set[str]:
    """Return the first parts of the keys that describe an experiment or a search."""
    settings = {field.name for field in fields(Settings)}
    groups = {group.partition("/")[0] for group in list_groups()}
    search = SEARCH_KEYS if verb == "search" else ()
    return {*settings, *groups, "trainer", *search} - PERSONS


def _is_harmless(word: str, roots: set[str]) -> bool:
    """Return whether an override of a stranger decides nothing but the experiment."""
    key, sign, text = word.lstrip("+~").partition("=")
    leaf = key.rpartition(".")[2] if re.split("[./]", key)[0] in roots else ""
    if sign and text in (*HARMLESS.get(key, ()), *HARMLESS_IN_PARTS.get(leaf, ())):
        return True
    if "$" in text.replace("${data_dir}", ""):  # may stand for any other part of the config
        return False
    try:
        keys = list_override_keys(word)
    except ConfigError:  # log(1e-4,1e-2) and 1..5 of a search, which hold no mapping
        return bool(sign) and "{" not in text and _describes(key, roots)
    return all(_describes(each, roots) for each in keys)


def _describes(key: str, roots: set[str]) -> bool:
    """Return whether a key belongs to what an experiment is."""
    if _KEY.fullmatch(key) is None:
        return False
    parts = re.split("[./]", key)
    return parts[0] in roots and not IN_PARTS & {*parts[1:]}
