"""``seeds=``, ``curve=``, folds: keys that are short for a sweep, expanded before anything runs.

    seeds=3 seed=4     -m seed=4,5,6
    curve=fractions    -m target.fraction=0.1,0.25,0.5,1.0
    target.folds=5     -m target.folds=5 target.fold=1,2,3,4,5

A run of such a sweep equals the run with its seed, fraction and fold alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmx.config import compose, override_problems, signature
from mmx.config.composed import Composed
from mmx.config.hydra_node import DIRECTORY_KEYS
from mmx.config.nodes import ConfigNode
from mmx.config.sweep_values import refuse_sweep
from mmx.errors import ConfigError, Problem
from mmx.experiment.settings import LINE_KEYS, Settings
from mmx.quoting import format_value
from mmx.stage_id import Role
from mmx.verbs.train_folds import FOLDS, REPEATS, FoldSweep
from mmx.verbs.train_line import CommandLine

FRACTIONS = (0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class _Word:
    """An override of the line.

    Attributes:
        key: What it sets.
        text: As it was typed.
        parsed: As Hydra reads it.
        sweeps: Whether it gives several values.
    """

    key: str
    text: str
    parsed: Any
    sweeps: bool


def expand(line: CommandLine) -> CommandLine:
    """Return the line with ``seeds``, ``curve`` and folds expanded; unchanged without them.

    Raises:
        ConfigError: They contradict the rest of the line.
    """
    with compose.composer(line.config_dirs):
        parsed = compose.parse(line.overrides)
        words = [
            _Word(each.key_or_group, text, each, each.is_sweep_override())
            for each, text in zip(parsed, line.overrides, strict=True)
        ]
        # Files of the user may say them too.
        asking = {*LINE_KEYS, "experiment", FOLDS, REPEATS} & {word.key for word in words}
        if not asking and not line.config_dirs:
            return line
        # Where runs go is read later, and says nothing of what they are.
        job = [
            text
            for text in compose.list_jobs(parsed)[0]
            if text.partition("=")[0] not in DIRECTORY_KEYS
        ]
        composed = override_problems.check_overrides(compose.parse(job), job, line.config_dirs)[0]
    config = composed.config
    chosen = {key: config[key] for key in LINE_KEYS if config.get(key) is not None}
    folds = FoldSweep.of(config, {word.key: word.text for word in words})
    if not chosen and not folds.asked:
        return line
    if problems := _problems(line, words, chosen, composed, folds):
        raise ConfigError(dict.fromkeys(problems))
    return replace(line, overrides=_write_out(words, chosen, config, folds), multirun=True)


def has_sweep(line: CommandLine) -> bool:
    """Return whether an override gives several values. Raises ConfigError for an unreadable one."""
    with compose.composer(line.config_dirs):
        return any(each.is_sweep_override() for each in compose.parse(line.overrides))


def _write_out(
    words: Sequence[_Word], chosen: ConfigNode, config: ConfigNode, folds: FoldSweep
) -> list[str]:
    """Return the overrides of the sweep that the keys are short for."""
    typed = {word.key for word in words}
    left_out = {*LINE_KEYS, "seed"} if "seeds" in chosen else {*LINE_KEYS}
    left_out |= set() if folds.repeats is None else {REPEATS}
    overrides = [word.text for word in words if word.key not in left_out]
    overrides += [f"{key}=null" for key in chosen if key not in typed]  # an experiment says it
    if curve := chosen.get("curve"):
        fractions = FRACTIONS if curve == "fractions" else sorted({float(part) for part in curve})
        overrides.append("target.fraction=" + ",".join(map(str, fractions)))
    overrides += folds.write_out(typed)
    if count := chosen.get("seeds"):
        first = int(config["seed"])
        overrides.append("seed=" + ",".join(str(first + index) for index in range(count)))
    return overrides


def _problems(
    line: CommandLine,
    words: Sequence[_Word],
    chosen: ConfigNode,
    composed: Composed,
    folds: FoldSweep,
) -> list[Problem]:
    """Return what is wrong with the keys; where each is right, what does not go together."""
    problems = _check_values(words, chosen, composed, folds)
    if problems:
        return problems
    if not line.multirun:
        free = [word for word in words if word.key not in (*LINE_KEYS, "seed")]
        problems += refuse_sweep([w.parsed for w in free], [w.text for w in free])
    typed = {word.key: word.text for word in words}
    given = {key: typed.get(key, f"{key}={format_value(value)}") for key, value in chosen.items()}
    if "seeds" in given:
        problems += _several_seeds(given["seeds"], words)
    if "curve" in given:
        problems += _fewer_rows(given["curve"], composed, typed)
    return problems


def _check_values(
    words: Sequence[_Word], chosen: ConfigNode, composed: Composed, folds: FoldSweep
) -> list[Problem]:
    """Return which of the keys have values that they cannot have."""
    problems = [
        Problem(word.text, "stands for a sweep itself", type_this=_one_value(word.text))
        for word in words
        if word.key in LINE_KEYS and word.sweeps
    ]
    problems += folds.problems([word.text for word in words if word.sweeps])
    if not problems:
        values = {"data_dir": "", "seed": composed.config["seed"], **chosen}
        _, problems = signature.check_values(Settings, values, "")
    return problems


def _several_seeds(given: str, words: Sequence[_Word]) -> list[Problem]:
    """Refuse several seeds to count on from."""
    return [
        Problem(
            given,
            f"counts on from one seed, and {word.text} gives several",
            type_this=f"-m {word.text}   (without {given})",
        )
        for word in words
        if word.key == "seed" and word.sweeps
    ]


def _one_value(text: str) -> str:
    """Return what was meant by a line key with several values: a curve takes a list."""
    key, _, values = text.lstrip("+").partition("=")
    return f"{key}=[{values}]" if key == "curve" else f"{key}={values.split(',')[0]}"


def _fewer_rows(given: str, composed: Composed, typed: Collection[str]) -> list[Problem]:
    """Refuse a curve over the rows of a target that something else has made fewer already."""
    target = composed.config.get("target")
    found = target if isinstance(target, dict) else {}
    task = composed.choices.get(Role.TARGET)
    problems = []
    for key in ("fraction", "per_class", "limit"):
        if found.get(key) is not None:
            said = f"target.{key}={format_value(found[key])}"
            keeps = f"{said} keeps some of them"
            if f"target.{key}" not in typed:
                keeps = f"target={task} keeps some of them unless told otherwise ({said})"
            reason = f"takes parts of all training rows, and {keeps}"
            problems.append(Problem(given, reason, type_this=f"{given} target.{key}=null"))
    return problems
