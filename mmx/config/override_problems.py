"""Everything that is wrong with the overrides of a command line, before anything is built."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from mmx.config import ahead
from mmx.config.clashes import find_chosen_clashes
from mmx.config.compose import COMPOSE_ERRORS, ChosenOptions, compose_options
from mmx.config.composed import Composed
from mmx.config.default_source import OWN_DATA, SOURCE, WITHOUT_SOURCE, takes_source_unasked
from mmx.config.hydra_node import is_hydra_key
from mmx.config.keys import find_nearest_key, get_node, has_key, list_keys, list_siblings
from mmx.config.locate import (
    TASK_GROUP,
    find_alias,
    find_default_option,
    find_options,
    list_groups,
    read_text_or_empty,
)
from mmx.config.nodes import ConfigNode
from mmx.config.option_problems import check_options
from mmx.config.part_packages import list_part_directories
from mmx.config.signature import MISSING
from mmx.errors import ConfigError, Problem, closest
from mmx.quoting import format_value, quote_for_shell
from mmx.renamed_options import find_key, find_word
from mmx.stage_id import Role

TYPICAL = {"transfer": "parameter", "regularizer": "delta"}
"""Group to the option that is advised where several options have a key."""
ANY_DATA = "table"
"""The task that is advised where several have a key: it reads data of one's own."""
KEPT = 16
"""Choices of options whose composed configs are kept."""
SHOWN_KEYS = 4
"""Most keys of an option that a message about an unknown key lists."""


def check_overrides(
    parsed: Sequence[Override], texts: Sequence[str], extra: Sequence[Path] = ()
) -> tuple[Composed, list[Problem]]:
    """Compose one job from the overrides that can be used, and return what is wrong with others.

    Overrides that choose options come first: which keys there are follows from them.

    Args:
        parsed: The job's overrides, without sweeps, as Hydra's parser returns them.
        texts: The same, as they were typed.
        extra: The user's config directories.
    """
    known = list_groups(extra)
    choosing, setting, problems = sort_overrides(parsed, texts, known, extra)
    chosen = choose_options(choosing, _list_places(extra))
    unasked = WITHOUT_SOURCE in {*chosen.texts} - {*choosing}
    usable: list[tuple[Override, str]] = []
    for override, text in setting:
        problem = _key_problem(_Setting(override, text, chosen.composed, known, extra, unasked))
        problems.append(problem)
        usable.extend([] if problem else [(override, text)])
    composed, stray = _drop_stray_experiment(_set_keys(chosen, usable))
    typed = {override.key_or_group for override in parsed}
    clashes = find_chosen_clashes(composed, typed, extra) if list_part_directories() else ()
    return composed, [*stray, *clashes, *filter(None, problems)]


def sort_overrides(
    parsed: Sequence[Override], texts: Sequence[str], known: Sequence[str], extra: Sequence[Path]
) -> tuple[tuple[str, ...], list[tuple[Override, str]], list[Problem | None]]:
    """Return the overrides that choose options, those that set keys, and what is wrong."""
    problems: list[Problem | None] = []
    choosing: list[str] = []
    setting: list[tuple[Override, str]] = []
    for override, text in zip(parsed, texts, strict=True):
        key = override.key_or_group
        if is_hydra_key(text):
            choosing.append(text)
        elif key in known or key == TASK_GROUP or "/" in key:
            problem, added = _check_choice(override, text, known, extra)
            problems.append(problem)
            choosing.extend(added)
        else:
            setting.append((override, text))
    return tuple(choosing), setting, problems


def _list_places(extra: Sequence[Path]) -> tuple[Path, ...]:
    return (*(path.resolve() for path in extra), *list_part_directories())


def _check_choice(
    override: Override, text: str, known: Sequence[str], extra: Sequence[Path]
) -> tuple[Problem | None, list[str]]:
    """Return what is wrong with the choice of an option, or what is passed on for it."""
    key = override.key_or_group
    own = key not in known and find_alias(key, extra) in known
    problem = _group_problem(override, text, [*known, key] if own else known, extra)
    if problem is not None:
        return problem, []
    # Of an input of its own there is no default in mmx's config that could be changed.
    return None, [text if text.startswith(("+", "~")) or not own else f"+{text}"]


def _drop_stray_experiment(composed: Composed) -> tuple[Composed, list[Problem]]:
    """Return the config without keys that an experiment's file put where nothing reads them."""
    if "experiment" not in composed.config:
        return composed, []
    config = {key: value for key, value in composed.config.items() if key != "experiment"}
    return replace(composed, config=config), [_stray_problem(composed.choices.get("experiment"))]


def _stray_problem(name: str | None) -> Problem:
    return Problem(
        f"experiment={name}",
        "its file says nothing of where its keys belong, and nothing reads them",
        type_this="# @package _global_   (as the first line of that file)",
    )


@functools.lru_cache(maxsize=KEPT)
def choose_options(overrides: tuple[str, ...], places: tuple[Path, ...]) -> ChosenOptions:
    """Return the config before any key is set; jobs that choose the same options share it."""
    ready: ChosenOptions | None = ahead.take((overrides, places))
    if ready is not None:
        return ready
    with _translate_errors(overrides):
        chosen = compose_options(overrides)
        if takes_source_unasked(chosen.composed, places):
            return compose_options((*overrides, WITHOUT_SOURCE))
        return chosen


def _set_keys(chosen: ChosenOptions, keys: Sequence[tuple[Override, str]]) -> Composed:
    texts = [text for _, text in keys]
    with _translate_errors([*chosen.texts, *texts]):
        return chosen.set_keys([override for override, _ in keys], texts)


@contextmanager
def _translate_errors(overrides: Sequence[str]) -> Iterator[None]:
    """Raise Hydra's errors inside the ``with`` block as a ConfigError in mmx's words."""
    try:
        yield
    except COMPOSE_ERRORS as error:
        raise ConfigError([_problem_of(error, overrides)]) from error


def _problem_of(error: Exception, overrides: Sequence[str]) -> Problem:
    """Return the problem that an error of Hydra stands for; its messages are matched by pattern."""
    if found := re.search(r"In 'experiment/(.+)': .*@experiment\.", str(error)):
        return _stray_problem(found[1])
    found = re.search(r"Could not find '(\S+)/([^/\s]+)'", str(error))
    if found and (renamed := find_word(found[1], found[2])):  # chosen by a file's defaults
        return Problem(f"{found[1]}={found[2]}", renamed.why, type_this=renamed.advice)
    if found := re.match(r"Multiple values for (\S+)\.", str(error)):
        twice = [text for text in overrides if text.startswith(f"+{found[1]}=")]
        reason = f"{found[1]} is chosen already: it is changed, not added"
        if twice:
            return Problem(twice[0], reason, type_this=twice[0][1:])
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return Problem(" ".join(overrides) or "config", " ".join(lines[:3]))


def _group_problem(
    override: Override, text: str, known: Sequence[str], extra: Sequence[Path]
) -> Problem | None:
    """Return what is wrong with an override that chooses an option."""
    group = override.key_or_group
    default = find_default_option(group) or "<option>"
    value = default if override.is_delete() else override.get_value_element_as_str()
    if group == TASK_GROUP:
        return Problem(text, "a task is chosen as source or as target", type_this=f"source={value}")
    if group not in known:
        near = closest(group, known)
        return Problem(
            text,
            f"there is no group {group}",
            accepted=", ".join(known),
            closest=near,
            type_this=near and f"{near}={value}",
        )
    names = list(find_options(group, extra))
    if override.is_delete():
        if group in ("experiment", Role.SOURCE) or group.startswith("encoder/"):
            return None
        reason = f"a run needs a {group}"
        return Problem(text, reason, accepted=", ".join(names), type_this=f"{group}={default}")
    return check_options(group, override.value(), text, names, extra)


@dataclass(frozen=True)
class _Setting:
    """An override that sets a key.

    Attributes:
        override: As Hydra reads it.
        text: As it was typed.
        base: The config before any key is set.
        groups: All config groups.
        extra: The user's config directories.
        without_source: Whether there is no source since none was chosen.
    """

    override: Override
    text: str
    base: Composed
    groups: Sequence[str]
    extra: Sequence[Path]
    without_source: bool = False

    @property
    def key(self) -> str:
        """The whole key."""
        return self.override.key_or_group

    @property
    def parent(self) -> str:
        """The key of the node that the key is in; empty for a root key."""
        return self.key.rpartition(".")[0]

    @property
    def last(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2]

    @property
    def value(self) -> str:
        """The value as text."""
        return "" if self.override.is_delete() else self.override.get_value_element_as_str()


def _key_problem(setting: _Setting) -> Problem | None:
    """Return what is wrong with an override that sets a key; None where it can be used."""
    override, config = setting.override, setting.base.config
    if (
        problem := _refuse_dotted_group(setting)
        or _refuse_deleted_root_key(setting)
        or _refuse_old_key(setting)
    ):
        return problem
    if override.is_add() or override.is_force_add():
        return None
    if has_key(config, setting.key):
        return _new_keys_problem(override, setting.text, get_node(config, setting.key))
    return (
        _refuse_key_of_unchosen_input(setting)
        or _refuse_key_of_another_option(setting)
        or _refuse_part_of_mapping(setting)
        or _refuse_unknown_key(setting)
    )


def _refuse_dotted_group(setting: _Setting) -> Problem | None:
    """Refuse ``encoder.image=x``: an option is chosen by ``encoder/image=x``."""
    group = setting.key.replace(".", "/")
    if group not in setting.groups or isinstance(setting.override.value(), dict):
        return None
    option = setting.value or find_default_option(group) or "<option>"
    return Problem(setting.text, f"{group} is a group of options", type_this=f"{group}={option}")


def _refuse_deleted_root_key(setting: _Setting) -> Problem | None:
    """Refuse ``~key`` for a root key: every config needs them all."""
    if not setting.override.is_delete() or setting.parent or setting.key not in setting.base.config:
        return None
    text = setting.text
    return Problem(text, f"{setting.key} cannot be left out", type_this=f"leave out {text}")


def _refuse_old_key(setting: _Setting) -> Problem | None:
    """Refuse a key that an option of an earlier version had."""
    renamed = find_key(setting.key, setting.value)
    if renamed is None or has_key(setting.base.config, setting.key):
        return None
    return Problem(setting.text, renamed.why, type_this=renamed.advice)


def _refuse_part_of_mapping(setting: _Setting) -> Problem | None:
    """Refuse a single key of a free mapping that is still empty: Hydra needs the whole mapping."""
    parent = setting.parent
    if not parent or get_node(setting.base.config, parent) not in (MISSING, {}):
        return None
    return Problem(
        setting.text,
        f"the keys of {parent} are set together",
        type_this=f"'{parent}={{{setting.last}: {setting.value}, ...}}'",
    )


def _refuse_unknown_key(setting: _Setting) -> Problem:
    """Return the problem of a key that does not exist, with the key most like it."""
    key, parent, config = setting.key, setting.parent, setting.base.config
    near = find_nearest_key(key, [*setting.groups, *list_keys(config)])
    chosen = ""
    if parent and (near is None or near.rpartition(".")[0] != parent):
        only = _find_only_option_with(setting.last, setting.groups, setting.extra)
        option, near = only or ("", near)
        chosen = option and f"{option} "
        near = near if near and near.rpartition(".")[2] == setting.last else None
    return Problem(
        setting.text,
        f"there is no group or key {key}",
        accepted=list_siblings(config, key, setting.groups),
        closest=near,
        type_this=near and f"{chosen}{quote_for_shell(f'{near}={setting.value}')}",
    )


def _refuse_key_of_unchosen_input(setting: _Setting) -> Problem | None:
    """Return which encoder to choose first for one of several inputs, which has none of its own."""
    group = setting.parent.replace(".", "/")
    alias = None if group in setting.groups else find_alias(group, setting.extra)
    if alias is None or alias not in setting.groups or has_key(setting.base.config, setting.parent):
        return None
    option = setting.base.choices.get(alias) or "<option>"
    return Problem(
        setting.text,
        f"this input has the encoder of {alias}, with all of its keys",
        type_this=f"{group}={option} {setting.text}",
    )


def _refuse_key_of_another_option(setting: _Setting) -> Problem | None:
    """Return which option to choose first, where other options of the group have such a key."""
    parent, last, base = setting.parent, setting.last, setting.base
    group = parent.replace(".", "/")
    if group not in setting.groups:
        return None
    node = get_node(base.config, parent)
    near, fitting = _find_options_with(last, group, setting.extra, also_similar=not node)
    if near is None and node:
        return None
    own = [name for name in node or {} if name != "_target_"]
    others = f" but {', '.join(own)}" if 0 < len(own) <= SHOWN_KEYS else ""
    chosen = f"{group}={base.choices.get(group)}"
    said = f"{chosen} has no key {last}{others}"
    if not node:
        said = f"{chosen} has no keys, so choose another first"
    if group == SOURCE and setting.without_source:
        said = f"no source is chosen unasked where {OWN_DATA}, so choose one first"
    choice = f"{group}={_choose_option(group, fitting)}"
    accepted = None
    if near:
        accepted = f"{parent}.{near} under {group}={', '.join(fitting)}"
        choice = f"{choice} {parent}.{near}={setting.value}"
    return Problem(setting.text, said, accepted=accepted, type_this=choice)


def _choose_option(group: str, fitting: Sequence[str]) -> str:
    """Return the option to type: a usual one where it fits, else the first that fits."""
    usual = [TYPICAL.get(group), find_default_option(group), ANY_DATA]
    ordered = [*(each for each in usual if each in fitting), *fitting, *usual]
    return next(each for each in ordered if each)


def _find_options_with(
    key: str, group: str, extra: Sequence[Path], *, also_similar: bool
) -> tuple[str | None, list[str]]:
    """Return a key that some options of a group have, or None, and those options.

    Args:
        key: What was typed.
        group: The group whose options are searched.
        extra: The user's config directories.
        also_similar: Whether to accept a similar key, and an option that needs values for
            other keys too.
    """
    of_key: dict[str, list[str]] = {}
    needing_more: dict[str, list[str]] = {}
    for option, path in find_options(group, extra).items():
        file = read_text_or_empty(path)
        names = re.findall(r"^([a-z]\w*):", file, flags=re.MULTILINE)
        # An option that needs values for other keys too is named only where no other has the key.
        found = needing_more if f": {MISSING}" in file else of_key
        for name in names:
            found.setdefault(name, []).append(option)
    if key in of_key or not also_similar:
        return (key, of_key[key]) if key in of_key else (None, [])
    if key in needing_more:
        return key, needing_more[key]
    near = closest(key, of_key)
    return near, of_key[near] if near else []


def _find_only_option_with(
    name: str, known: Sequence[str], extra: Sequence[Path]
) -> tuple[str, str] | None:
    """Return the only option of any group with a key of this name, and the key's path."""
    found = [
        (f"{group}={option}", f"{group.replace('/', '.')}.{name}")
        for group in known
        for option, path in find_options(group, extra).items()
        if f"\n{name}:" in read_text_or_empty(path)
    ]
    return found[0] if len(found) == 1 else None


def _new_keys_problem(override: Override, text: str, node: Any) -> Problem | None:
    """Return what to type to replace a mapping of an experiment: Hydra would merge the two."""
    value = None if override.is_delete() else override.value()
    if not isinstance(value, dict) or not isinstance(node, dict) or not node:
        return None
    key = override.key_or_group
    changes = [f"~{key}.{name}" for name in node if name not in value]
    changes += [
        f"+{key}.{name}={format_value(item)}" for name, item in value.items() if name not in node
    ]
    if not changes:
        return None
    return Problem(
        text,
        f"{key} is {format_value(node)} here, and a mapping given anew changes the values of its "
        "keys alone",
        type_this=" ".join(changes),
    )


def drop_echoes(problems: Sequence[Problem], unresolved: ConfigNode) -> list[Problem]:
    """Return the problems without those of keys that only refer to another key with a problem."""
    keys = {problem.given.split("=")[0] for problem in problems}

    def echoes(problem: Problem) -> bool:
        node = get_node(unresolved, problem.given.split("=")[0])
        return isinstance(node, str) and node.startswith("${") and node[2:-1] in keys

    return [problem for problem in problems if not echoes(problem)]
