"""What is wrong with a command line's overrides, all of it, before anything is built."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from mmx.config.compose import COMPOSE_ERRORS, Composed, compose
from mmx.config.hydra_node import is_hydra_key
from mmx.config.locate import TASK_GROUP, default_option, groups, options, text_of
from mmx.config.signature import MISSING, show
from mmx.config.synonyms import other_name
from mmx.errors import ConfigError, Problem, closest

TYPICAL = {"transfer": "parameter", "regularizer": "delta"}
"""Group to the option that is advised where several have a key."""
FEW = 4
"""Keys of an option, at most, that are named beside one that it does not have."""


def check(
    parsed: Sequence[Override], texts: Sequence[str], extra: Sequence[Path] = ()
) -> tuple[Composed, list[Problem]]:
    """Compose one job from those overrides that can be used; word what is wrong with the rest.

    Args:
        parsed: The job's overrides, without sweeps, as Hydra's parser gives them.
        texts: The same as they were typed.
        extra: The user's config directories.
    """
    problems: list[Problem] = []
    usable: list[str] = []
    values: list[tuple[Override, str]] = []
    known = groups(extra)
    for override, text in zip(parsed, texts, strict=True):
        key = override.key_or_group
        if is_hydra_key(text):
            usable.append(text)
        elif key in known or key == TASK_GROUP or "/" in key:
            problem = _group_problem(override, text, known, extra)
            problems.extend([problem] if problem else [])
            usable.extend([] if problem else [text])
        else:
            values.append((override, text))
    places = tuple(path.resolve() for path in extra)
    base = _base(tuple(usable), places) if values else _compose(usable)
    for override, text in values:
        problem = _key_problem(override, text, base, known, extra)
        problems.extend([problem] if problem else [])
        usable.extend([] if problem else [text])
    composed, stray = _without_stray_experiment(_compose(usable) if values else base)
    return composed, [*stray, *problems]


def _without_stray_experiment(composed: Composed) -> tuple[Composed, list[Problem]]:
    """Return the config without keys that an experiment has put where nothing reads them."""
    if "experiment" not in composed.config:
        return composed, []
    config = {key: value for key, value in composed.config.items() if key != "experiment"}
    return replace(composed, config=config), [_stray(composed.choices.get("experiment"))]


def _stray(name: str | None) -> Problem:
    return Problem(
        f"experiment={name}",
        "its file says nothing of where its keys belong, and nothing reads them",
        type_this="# @package _global_   (as the first line of that file)",
    )


@functools.lru_cache(maxsize=16)
def _base(overrides: tuple[str, ...], places: tuple[Path, ...]) -> Composed:
    """Return the config before any key is set: the same for all jobs that choose the same."""
    return _compose(overrides)


def _compose(overrides: Sequence[str]) -> Composed:
    try:
        return compose(overrides)
    except COMPOSE_ERRORS as error:
        if found := re.search(r"In 'experiment/(.+)': .*@experiment\.", str(error)):
            raise ConfigError([_stray(found[1])]) from error
        if found := re.match(r"Multiple values for (\S+)\.", str(error)):
            twice = [text for text in overrides if text.startswith(f"+{found[1]}=")]
            reason = f"{found[1]} is chosen already: it is changed, not added"
            if twice:
                raise ConfigError([Problem(twice[0], reason, type_this=twice[0][1:])]) from error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ConfigError(
            [Problem(" ".join(overrides) or "config", " ".join(lines[:3]))]
        ) from error


def _group_problem(
    override: Override, text: str, groups_known: Sequence[str], extra: Sequence[Path]
) -> Problem | None:
    group = override.key_or_group
    default = default_option(group) or "<option>"
    value = default if override.is_delete() else override.get_value_element_as_str()
    if group == TASK_GROUP:
        return Problem(text, "a task is chosen as source or as target", type_this=f"source={value}")
    if group not in groups_known:
        near = closest(group, groups_known)
        return Problem(
            text,
            f"there is no group {group}",
            accepted=", ".join(groups_known),
            closest=near,
            type_this=near and f"{near}={value}",
        )
    known = list(options(group, extra))
    if override.is_delete():
        if group in ("experiment", "source") or group.startswith("encoder/"):
            return None
        reason = f"a run needs a {group}"
        return Problem(text, reason, accepted=", ".join(known), type_this=f"{group}={default}")
    given = override.value()
    if isinstance(given, list) and group != "experiment":
        several = f"-m {group}={','.join(str(name) for name in given)}"
        reason = f"{group} takes one option, and a sweep several"
        return Problem(text, reason, accepted=", ".join(known), type_this=several)
    for name in given if isinstance(given, list) else [given]:
        if isinstance(name, str) and name.removesuffix(".yaml") in known:
            continue
        near = None if name is None else closest(str(name), known)
        typed = near and f"{group}={near}"
        if meant := other_name(group, str(name), known):
            near, typed = meant
        return Problem(
            text,
            f"{group} has no option {show(name)}",
            accepted=", ".join(known),
            closest=near,
            type_this=typed,
        )
    return None


def _key_problem(
    override: Override,
    text: str,
    base: Composed,
    known: Sequence[str],
    extra: Sequence[Path],
) -> Problem | None:
    key, config = override.key_or_group, base.config
    value = "" if override.is_delete() else override.get_value_element_as_str()
    as_group = key.replace(".", "/")
    if as_group in known and not isinstance(override.value(), dict):
        return Problem(
            text,
            f"{as_group} is a group of options",
            type_this=f"{as_group}={value or default_option(as_group) or '<option>'}",
        )
    parent, _, last = key.rpartition(".")
    if override.is_delete() and not parent and key in config:
        return Problem(text, f"{key} cannot be left out", type_this=f"leave out {text}")
    if override.is_add() or override.is_force_add():
        return None
    if _exists(config, key):
        return _new_keys(override, text, _get(config, key))
    if problem := _key_of_another_option(key, text, value, base, known, extra):
        return problem
    if parent and _get(config, parent) in (MISSING, {}):
        return Problem(
            text,
            f"the keys of {parent} are set together",
            type_this=f"'{parent}={{{last}: {value}, ...}}'",
        )
    near = _nearest(key, [*known, *_keys(config)])
    chosen = ""
    if parent and (near is None or near.rpartition(".")[0] != parent):
        option, near = _only_option_with(last, known, extra) or ("", near)
        chosen = option and f"{option} "
        near = near if near and near.rpartition(".")[2] == last else None
    return Problem(
        text,
        f"there is no group or key {key}",
        accepted=_siblings(config, key, known),
        closest=near,
        type_this=near and f"{chosen}{near}={value}",
    )


def _key_of_another_option(
    key: str, text: str, value: str, base: Composed, known: Sequence[str], extra: Sequence[Path]
) -> Problem | None:
    """Return what to choose first, where other options of the key's group have such a key."""
    parent, _, last = key.rpartition(".")
    group = parent.replace(".", "/")
    if group not in known:
        return None
    of_key: dict[str, list[str]] = {}
    needing_more: dict[str, str] = {}
    for option, path in options(group, extra).items():
        file = text_of(path)
        names = re.findall(r"^([a-z]\w*):", file, flags=re.MULTILINE)
        if f": {MISSING}" in file:  # it would need more than this key
            needing_more.update(dict.fromkeys(names, option))
            continue
        for name in names:
            of_key.setdefault(name, []).append(option)
    nothing_chosen = not _get(base.config, parent)
    near = last if last in of_key else None
    if near is None and nothing_chosen and last not in needing_more:
        near = closest(last, of_key)
    if near is None and not nothing_chosen:
        return None
    chosen = f"{group}={base.choices.get(group)}"
    fitting = of_key.get(near or "", [])
    own = [name for name in _get(base.config, parent) or {} if name != "_target_"]
    others = f" but {', '.join(own)}" if 0 < len(own) <= FEW else ""
    typical = TYPICAL.get(group) or default_option(group)
    first = typical if typical in fitting or not fitting else fitting[0]
    if near is None and last in needing_more:
        first, near = needing_more[last], last
        fitting = [first]
    return Problem(
        text,
        f"{chosen} has no keys, so choose another first"
        if nothing_chosen
        else f"{chosen} has no key {last}{others}",
        accepted=f"{parent}.{near} under {group}={', '.join(fitting)}" if near else None,
        type_this=f"{group}={first} {parent}.{near}={value}" if near else f"{group}={first}",
    )


def _only_option_with(
    name: str, known: Sequence[str], extra: Sequence[Path]
) -> tuple[str, str] | None:
    """Return the one option of all groups that has a key of this name, and the key's path."""
    found = [
        (f"{group}={option}", f"{group.replace('/', '.')}.{name}")
        for group in known
        for option, path in options(group, extra).items()
        if f"\n{name}:" in text_of(path)
    ]
    return found[0] if len(found) == 1 else None


def _new_keys(override: Override, text: str, node: Any) -> Problem | None:
    """Return what to type for keys that a mapping chosen before, in an experiment, has not."""
    value = None if override.is_delete() else override.value()
    if not isinstance(value, dict) or not isinstance(node, dict) or not node:
        return None
    key = override.key_or_group
    changes = [f"~{key}.{name}" for name in node if name not in value]
    changes += [f"+{key}.{name}={show(item)}" for name, item in value.items() if name not in node]
    if not changes:
        return None
    return Problem(
        text,
        f"{key} is {show(node)} here, and a mapping given anew changes the values of its "
        "keys alone",
        type_this=" ".join(changes),
    )


def _nearest(key: str, names: Sequence[str]) -> str | None:
    """Return the name most like a key: among its siblings, else whole, else by its last part."""
    parent, _, last = key.rpartition(".")
    siblings = [name for name in names if parent and name.rpartition(".")[0] == parent]
    if near := closest(last, [name.rpartition(".")[2] for name in siblings]):
        return f"{parent}.{near}"
    if not siblings and (near := closest(key, names)):
        return near
    near = closest(last, [name.rpartition(".")[2] for name in names])
    return next((name for name in names if near and name.rpartition(".")[2] == near), None)


def _get(config: dict[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _exists(config: dict[str, Any], key: str) -> bool:
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            # A list index or a key of a free mapping (target.columns) is for the signature.
            return isinstance(node, list)
        node = node[part]
    return True


def _keys(config: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the keys that take a value; a node is chosen by its group."""
    found: list[str] = []
    for key, value in config.items():
        if isinstance(value, dict) and value:
            found.extend(_keys(value, f"{prefix}{key}."))
        elif key != "_target_":
            found.append(prefix + key)
    return found


def _siblings(config: dict[str, Any], key: str, known: Sequence[str]) -> str:
    """Return the keys beside the one given, or the groups and root keys."""
    prefix = key.rpartition(".")[0]
    node = _get(config, prefix) if prefix else None
    if isinstance(node, dict):
        return ", ".join(f"{prefix}.{name}" for name in node if name != "_target_")
    plain = [name for name, value in config.items() if not isinstance(value, dict)]
    return ", ".join([*known, "trainer.<key>", *plain])


def without_echoes(problems: Sequence[Problem], unresolved: dict[str, Any]) -> list[Problem]:
    """Return the problems, less those of keys that only repeat another key's value."""
    keys = {problem.given.split("=")[0] for problem in problems}

    def echoes(problem: Problem) -> bool:
        node = _get(unresolved, problem.given.split("=")[0])
        return isinstance(node, str) and node.startswith("${") and node[2:-1] in keys

    return [problem for problem in problems if not echoes(problem)]
