"""Finished runs of any place, grouped by what they differ in, for a comparison of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from glob import glob
from pathlib import Path
from typing import Any

from mmx import untrusted
from mmx.errors import RunError, UnreadableFileError, UsageError, closest
from mmx.metrics import find_direction
from mmx.runs import index
from mmx.runs.conditions import Condition, find_unmet, keys_of
from mmx.runs.directory import RunDirectory, find_listed
from mmx.runs.draw import Draw, count_folds
from mmx.runs.essence import essence_with_weights
from mmx.runs.index_cache import CellValue
from mmx.runs.index_entry import list_run_names
from mmx.runs.recorded import advise_anew
from mmx.runs.selection import find_fact
from mmx.runs.summary import Summary
from mmx.runs.variation import Variant, format_varied, label_variants, list_varied
from mmx.stage_id import Role

SWEEP_RUNS = "runs/*/config.yaml"
TARGET = Role.TARGET.value


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, read once.

    Attributes:
        directory: Where it is.
        summary: Its answer.
    """

    directory: RunDirectory
    summary: Summary

    @cached_property
    def draw(self) -> Draw:
        """Seed and fold."""
        return Draw.of(self.summary)

    @cached_property
    def facts(self) -> dict[str, CellValue]:
        """All its settings and numbers by dotted key."""
        return {"status": "done", **index.facts(self.directory)}

    def read_variant(self) -> Variant:
        """Return the run as far as it is needed to tell it from others."""
        config = self.directory.config()
        weights = self.directory.manifest().identity.weights
        counted = essence_with_weights(config, weights)
        counted.pop("device", None)  # where it was computed makes no group of its own
        return Variant(config, counted, self._read_unresolved(), self.directory.names())

    def _read_unresolved(self) -> Mapping[str, Any]:
        """Return the config with its interpolations; nothing where an old run keeps none."""
        try:
            found: Mapping[str, Any] = untrusted.read_yaml(
                self.directory.path / ".hydra" / "unresolved.yaml", dict
            )
        except UnreadableFileError:
            return {}
        return found


@dataclass(frozen=True)
class RunGroup:
    """Runs with the same settings, of several seeds or folds.

    Attributes:
        label: Key to value, for each key in which groups differ, without the target.
        target: The target task.
        runs: Its runs, in the order of their draws.
    """

    label: dict[str, str]
    target: str
    runs: tuple[FinishedRun, ...]

    @property
    def name(self) -> str:
        """Its settings as one would type them."""
        return " ".join(f"{key}={value}" for key, value in self.label.items()) or "all runs"

    @property
    def folds(self) -> int:
        """K, where its runs were tested on several of K folds; 0 where they were not."""
        return count_folds(run.draw for run in self.runs)


def find_runs(
    words: Sequence[str],
    conditions: Sequence[Condition] = (),
    *,
    left_out: list[str] | None = None,
) -> list[FinishedRun]:
    """Return the finished runs that words name, each once, oldest first.

    Args:
        words: Run directories, sweeps, output folders, or patterns of such.
        conditions: What a run must fulfil.
        left_out: Receives a note on each damaged run that lies in a folder or fits a pattern;
            None refuses these too.

    Raises:
        RunError: A word leads to no finished run, or a run is damaged.
        UsageError: No run has the key of a condition.
    """
    every = _read_every(words, left_out)
    if every:
        require_keys(every, keys_of(conditions))
    found = [
        run
        for run in every
        if all(each.holds(find_fact(run.facts, each.key)) for each in conditions)
    ]
    if not found:
        raise RunError(_explain_none(words, every, conditions), tip="mmx list")
    return found


def _read_every(words: Sequence[str], left_out: list[str] | None) -> list[FinishedRun]:
    """Return all finished runs that words name; see :func:`find_runs`."""
    named = {Path(word).resolve() for word in words}
    every: list[FinishedRun] = []
    for directory in list_run_directories(words):
        try:
            run = read_finished(directory)
        except RunError as error:
            if left_out is None or directory.path.resolve() in named:
                raise
            left_out.append(note_damaged(error, directory.path))
        else:
            every += [] if run is None else [run]
    return every


def note_damaged(error: RunError, run: Path) -> str:
    """Return the note on a damaged run that is left out, with what to type."""
    return f"left out: {error.message}; {error.tip or advise_anew(run)}"


def _explain_none(
    words: Sequence[str], every: Sequence[FinishedRun], conditions: Sequence[Condition]
) -> str:
    """Return why no finished run is left."""
    where = " ".join(words)
    if not conditions:
        return f"there are no finished runs in {where}"
    values = {key: [find_fact(run.facts, key) for run in every] for key in keys_of(conditions)}
    if every and (unmet := find_unmet(conditions, values)):
        return f"no finished run in {where} has {unmet}"
    return f"there are no finished runs that fulfil all conditions in {where}"


def list_run_directories(words: Sequence[str]) -> list[RunDirectory]:
    """Return the runs that words name, finished or not, each once, oldest first.

    Raises:
        RunError: A word leads to no run.
    """
    paths: dict[Path, RunDirectory] = {}
    for word in words:
        for path in _expand(word):
            paths.setdefault(path.resolve(), RunDirectory(path))
    return sorted(paths.values(), key=lambda each: each.path.name)


def read_finished(directory: RunDirectory) -> FinishedRun | None:
    """Return a run that is done; None if it is not.

    Raises:
        RunError: It is damaged.
    """
    directory.require_undamaged()
    return FinishedRun(directory, directory.finished_summary()) if directory.summary() else None


def find_unfinished(
    words: Sequence[str], conditions: Sequence[Condition] = ()
) -> list[RunDirectory]:
    """Return the runs that words name and that are not done, oldest first, without damaged ones.

    Args:
        words: As of :func:`find_runs`.
        conditions: What a run must fulfil, as far as it has values.
    """

    def is_unfinished(directory: RunDirectory) -> bool:
        try:
            if directory.summary():
                return False
            directory.require_undamaged()
        except RunError:
            return False
        return True

    return [
        directory
        for directory in list_run_directories(words)
        if is_unfinished(directory)
        and all(each.holds(find_fact(index.facts(directory), each.key)) for each in conditions)
    ]


def _expand(word: str) -> list[Path]:
    """Return the run directories that a word names.

    Raises:
        RunError: There are none.
    """
    # Path.glob takes no absolute pattern.
    listed = find_listed(Path(word))
    patterns = [] if listed.exists() else sorted(glob(word))  # noqa: PTH207
    given = [Path(each) for each in patterns] or [listed]
    found: list[Path] = []
    for path in given:
        if (path / "config.yaml").exists():
            found.append(path)
        elif inside := [config.parent for config in path.glob(SWEEP_RUNS)]:
            found += [each for each in inside if not each.name.startswith(".")]
            found += [path / run for run in list_run_names(path)]
        else:
            found += [path / run for run in list_run_names(path)]
    if not found:
        RunDirectory.open(Path(word))  # says what it is instead
        raise RunError(f"{word} holds no runs", tip="mmx list")
    return found


def drop_repeated(runs: Sequence[FinishedRun]) -> tuple[list[FinishedRun], str]:
    """Return the newest run of each fingerprint, and a note on others; empty without any.

    A run that was reproduced is no second seed: counted twice, it would make intervals too narrow.

    Args:
        runs: Finished runs, oldest first.
    """
    newest = {run.directory.manifest().fingerprint or run.directory.path: run for run in runs}
    left = len(runs) - len(newest)
    if not left:
        return list(runs), ""
    which = "1 older run" if left == 1 else f"{left} older runs"
    return list(newest.values()), f"{which} of the same settings, data and seed left out"


def group_by_settings(
    runs: Sequence[FinishedRun], by: Sequence[str] = (), first: Sequence[str] = ()
) -> list[RunGroup]:
    """Return runs in groups, in the order of their first runs.

    Args:
        runs: Finished runs.
        by: Keys whose values make a group; without them, all settings in which runs differ.
        first: Keys that name a difference before any other that does.

    Raises:
        UsageError: No run has one of the keys.
    """
    labels = _read_labels(runs, by) if by else _find_labels(runs, first)
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[FinishedRun]] = {}
    for run, label in zip(runs, labels, strict=True):
        own = tuple((key, value) for key, value in label.items() if key != TARGET)
        groups.setdefault((run.summary.target.task, own), []).append(run)
    return [
        RunGroup(dict(label), target, tuple(sorted(members, key=lambda run: run.draw)))
        for (target, label), members in groups.items()
    ]


def _find_labels(runs: Sequence[FinishedRun], first: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return in what each run differs from others, beyond seed, fold and target task."""
    by_target: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        by_target.setdefault(run.summary.target.task, []).append(place)
    labels: list[dict[str, str]] = [{} for _ in runs]
    for places in by_target.values():
        variants = [replace(runs[place].read_variant(), typed=first) for place in places]
        for place, label in zip(places, label_variants(variants), strict=True):
            labels[place] = label
    # A key that varies on one target names the groups of the others too.
    keys = dict.fromkeys(key for label in labels for key in label)
    for run, label in zip(runs, labels, strict=True):
        label |= {key: _format(run, key) for key in keys if key not in label}
    return [{key: label[key] for key in keys} for label in labels]


def _read_labels(runs: Sequence[FinishedRun], by: Sequence[str]) -> list[dict[str, str]]:
    require_keys(runs, by, "--by ")
    return [{key: _format(run, key) for key in by} for run in runs]


def find_stated_direction(runs: Sequence[FinishedRun], metric: str) -> bool | None:
    """Return whether a smaller value of a metric is better; None where nothing states it."""
    for run in runs:
        gain, chosen = run.summary.gain, run.summary.target.metric
        if gain is not None and gain.metric == metric:
            return gain.lower_is_better
        if chosen is not None and chosen.name == metric:
            return chosen.lower_is_better
    return find_direction(metric)


def require_keys(runs: Sequence[FinishedRun], keys: Sequence[str], flag: str = "") -> None:
    """Raise UsageError where no run has a key, not even with null in it.

    Args:
        runs: Finished runs.
        keys: As typed.
        flag: What stood before them.
    """
    known = {each for run in runs for each in run.facts} if keys else set()
    for key in keys:
        if key in known or any(find_fact(run.facts, key) is not None for run in runs):
            continue
        tests = {each.removeprefix("target.metrics.test.") for each in known}
        near = closest(key, sorted(known | tests))
        raise UsageError(
            f"{flag}{key}: no run has this key" + (f"; did you mean {near}?" if near else ""),
            tip="mmx list --keys shows all keys",
        )


def _format(run: FinishedRun, key: str) -> str:
    value = find_fact(run.facts, key)
    return "none" if value is None else format_varied(value, key.rpartition(".")[2])


def find_mixed(group: RunGroup) -> dict[str, list[str]]:
    """Return settings beyond seed and fold that differ between the runs of a group.

    With ``--by``, a mean may be taken over runs that differ in more than their seed.
    """
    found = _list_differences(group.runs)
    return {key: list(dict.fromkeys(values)) for key, values in found.items()}


def _list_differences(runs: Sequence[FinishedRun]) -> dict[str, list[str]]:
    """Return each setting in which runs differ beyond seed and fold, with the value of each run.

    Where the name of a part tells all values of a key, the part stands for it.
    """
    variants = [run.read_variant() for run in runs]
    named: dict[str, list[str]] = {}
    for part in dict.fromkeys(part for each in variants for part in each.names):
        options = [each.names.get(part, "none") for each in variants]
        if len(set(options)) > 1:
            named[part] = options
    found: dict[str, list[str]] = {}
    for key, values in list_varied(variants).items():
        above = _find_part(key, values, named)
        found.setdefault(above or key, values if above is None else named[above])
    return found


def _find_part(key: str, values: Sequence[str], named: Mapping[str, Sequence[str]]) -> str | None:
    """Return the part that a key belongs to, if the part's name tells all values of the key."""
    for part, options in named.items():
        if key == part.replace("/", "."):  # some runs have none of it
            return part
        told = len(set(zip(options, values, strict=True))) == len(set(options))
        if told and f"{key}.".startswith(f"{part.replace('/', '.')}."):
            return part
    return None


def find_confounded(groups: Sequence[RunGroup]) -> dict[str, list[str]]:
    """Return settings that do not name groups, and that differ between groups of one target.

    Runs with one fusion may all have another learning rate than those with another fusion. A part
    of what names a group, as ``fusion.width``, goes with it.
    """
    found: dict[str, list[str]] = {}
    for target in dict.fromkeys(group.target for group in groups):
        own = [group for group in groups if group.target == target]
        runs = [run for group in own for run in group.runs]
        for key, values in _list_differences(runs).items():
            names_groups = any(_is_within(key, name) for name in own[0].label)
            if not names_groups and _differ(own, values):
                found[key] = list(dict.fromkeys([*found.get(key, []), *values]))
    return found


def _is_within(key: str, above: str) -> bool:
    key, above = (each.replace("/", ".") for each in (key, above))
    return f"{key}.".startswith(f"{above}.")


def _differ(groups: Sequence[RunGroup], values: Sequence[str]) -> bool:
    """Return whether groups have other values, of which each run has one, in the groups' order."""
    each = iter(values)
    sets = [{next(each) for _ in group.runs} for group in groups]
    return any(own != sets[0] for own in sets)
