"""The keys that the person who opens a run decides: where, how fast and on which device.

A run directory may come from anybody. Its config states what was trained; where results go, what
may be downloaded, which cache is filled and how many processes start is decided by the person who
types ``mmx reproduce``, ``resume``, ``eval`` or ``predict``. These keys do not count in a
fingerprint, so the experiment stays the same.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from mmx.config.build import BUILTIN_PACKAGES, TARGET, locate
from mmx.config.locate import find_options
from mmx.config.nodes import ConfigNode
from mmx.errors import ConfigError, Problem, closest
from mmx.experiment.config_fingerprint import walk_paths
from mmx.experiment.settings import Settings
from mmx.runs.essence import HOW_NOT_WHAT, WHERE_NOT_WHAT
from mmx.stage_id import TASK_ROLES
from mmx.trackers import TOLD, Tracker
from mmx.training.trainer import Trainer
from mmx.untrusted import read_yaml, unusable_path

IN_NODES = ("data_dir", "download")
"""Keys of :data:`WHERE_NOT_WHAT` that tasks and encoders have too."""
PATHS = ("path", "root")
"""Keys of a task with the paths of its files, which change when the files are moved."""
WANTED = re.compile(
    rf"(?:{'|'.join(WHERE_NOT_WHAT)}|device"
    rf"|trainer\.(?:{'|'.join(HOW_NOT_WHAT)})"
    rf"|(?:source|target)\.(?:{'|'.join((*PATHS, *IN_NODES))})"
    r"|encoder\.\w+\.(?:model|weights|download)"
    rf"|(?:{'|'.join(TOLD)})(?:[.\[].*)?)"
)


def is_openers_key(key: str) -> bool:
    """Return whether a key may be set by the person who opens a run."""
    return WANTED.fullmatch(key) is not None


def apply_opener(
    config: ConfigNode, typed: Mapping[str, Any], data_dir: Path, *, goes_on: bool = False
) -> tuple[ConfigNode, list[str]]:
    """Return a run's config with the opener's keys, and notes for the opener.

    A key that was not typed gets its default, whatever the run says.

    Args:
        config: As read from a run directory.
        typed: Keys with the values that the opener typed.
        data_dir: The opener's data folder, unless one is typed.
        goes_on: Whether the run itself goes on. Then its tracker and callbacks do too, the
            tracker where the opener says.

    Raises:
        ConfigError: A key was typed that the run does not have.
    """
    opened, notes = copy.deepcopy(config), list[str]()
    if goes_on:
        notes += _leave_places(opened, typed)
    else:
        opened = {key: value for key, value in opened.items() if key not in TOLD}
    defaults = {**_read_defaults(Settings), "data_dir": str(data_dir)}
    opened.update({key: typed.get(key, defaults[key]) for key in WHERE_NOT_WHAT})
    if isinstance(trainer := opened.get("trainer"), dict):
        notes += _set_trainer(trainer, typed)
    for node in _walk_nodes(opened):
        node.update({key: opened[key] for key in IN_NODES if key in node})
    if note := _note_other_data(config, opened, typed):
        notes.append(note)
    _type_in(opened, typed)
    return opened, notes


def _read_defaults(kind: type) -> ConfigNode:
    return {field.name: field.default for field in fields(kind)}


def _set_trainer(trainer: ConfigNode, typed: Mapping[str, Any]) -> list[str]:
    """Set how a run is computed; its number of threads stays, since sums depend on it."""
    threads, cores = trainer.get("threads"), os.cpu_count() or 1
    defaults = _read_defaults(Trainer)
    for key in HOW_NOT_WHAT:
        trainer[key] = typed.get(f"trainer.{key}", defaults[key])
    if "trainer.threads" in typed or not isinstance(threads, int):
        return []
    if threads > cores:
        return [warn_of_threads(threads, cores)]
    trainer["threads"] = threads
    return []


def warn_of_threads(threads: int, cores: int) -> str:
    """Return the note on a run that used more threads than this machine has cores."""
    return (
        f"the run computed with {threads:,} CPU threads, and this machine has {cores} "
        f"{'core' if cores == 1 else 'cores'}: numbers may differ (trainer.threads=… sets them)"
    )


def _walk_nodes(node: Any) -> Iterator[ConfigNode]:
    """Yield every node that makes an object."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from _walk_nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _walk_nodes(value)


def _note_other_data(
    config: ConfigNode, opened: ConfigNode, typed: Mapping[str, Any]
) -> str | None:
    """Return a note where the run's own data folder exists here, but is not the opener's."""
    was, reads = config.get("data_dir"), any("data_dir" in node for node in _walk_nodes(opened))
    if not reads or "data_dir" in typed or not isinstance(was, str) or was == opened["data_dir"]:
        return None
    if not Path(was).is_dir():
        return None
    return f"data is looked for in {opened['data_dir']}; the run had data_dir={was}"


def _type_in(opened: ConfigNode, typed: Mapping[str, Any]) -> None:
    """Set the typed values of device, tasks and encoders.

    Raises:
        ConfigError: The run has no such key.
    """
    problems = []
    for key, value in sorted(typed.items(), key=lambda item: item[0].count(".")):
        *parents, last = key.split(".")
        if not parents:
            opened[last] = _find_tracker(value) if key == "tracker" else value
            continue
        node: Any = opened
        for part in parents:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict) or (
            last not in node and parents not in (["trainer"], ["tracker"])
        ):
            problems.append(_unknown_key_problem(opened, key, value))
        else:
            node[last] = value
    if problems:
        raise ConfigError(problems)


def _leave_places(opened: ConfigNode, typed: Mapping[str, Any]) -> list[str]:
    """Remove where a run's tracker writes, unless it is typed; return a note for each place."""
    node = opened.get("tracker")
    if not isinstance(node, dict) or "tracker" in typed:
        return []
    try:
        kind = locate(str(node.get(TARGET)), BUILTIN_PACKAGES)
    except (PermissionError, ImportError, AttributeError):  # of the user's own, or reported later
        return []
    if not (isinstance(kind, type) and issubclass(kind, Tracker)):
        return []
    own = {key: node.pop(key) for key in kind.places if key in node}
    return [
        f"the run was tracked with {key}={value}; type that to go on there"
        for name, value in own.items()
        if value is not None and (key := f"tracker.{name}") not in typed
    ]


def _find_tracker(given: Any) -> Any:
    """Return the node of a tracker that was typed by name.

    Raises:
        ConfigError: There is none of that name.
    """
    if not isinstance(given, str):
        return given
    options = find_options("tracker")
    if given not in options:
        near = closest(given, options)
        problem = Problem(
            f"tracker={given}",
            "is no tracker",
            accepted=", ".join(options),
            closest=near,
            type_this=near and f"tracker={near}",
        )
        raise ConfigError([problem])
    return read_yaml(options[given], dict)


def _unknown_key_problem(opened: ConfigNode, key: str, value: object) -> Problem:
    known = [
        f"{parent}.{name}"
        for parent in TASK_ROLES
        if isinstance(node := opened.get(parent), dict)
        for name in (*PATHS, *IN_NODES)
        if name in node
    ]
    near = closest(key, known)
    return Problem(
        f"{key}={value}",
        f"the run has no {key}",
        accepted=", ".join([*known, *WHERE_NOT_WHAT]),
        closest=near,
        type_this=near and f"{near}={value}",
    )


def refuse_unusable_paths(config: ConfigNode) -> None:
    """Refuse paths that the system cannot handle, before anything uses them.

    Raises:
        ConfigError: One is too long, holds a NUL, or names the home of an unknown user.
    """
    found = [(key, path, unusable_path(path)) for key, path in _walk_paths(config)]
    if problems := [Problem(f"{key}={path}", reason) for key, path, reason in found if reason]:
        raise ConfigError(problems)


def find_special_files(config: ConfigNode) -> Iterator[Problem]:
    """Yield paths of tasks and encoders that are a pipe or a device: opening it may block."""
    for key, path in _walk_paths(config):
        if "." in key and not key.endswith(".data_dir") and _is_special(path):
            reason = "is a pipe or a device, where a file or a folder is expected"
            yield Problem(f"{key}={path}", reason)


def _walk_paths(config: ConfigNode) -> Iterator[tuple[str, str]]:
    """Yield every path that a config names, with its key."""
    named: list[tuple[str, Any, tuple[str, ...]]]
    named = [("", config, ("data_dir", "output_dir", "cache"))]
    named += [(f"{role}.", config.get(role), (*PATHS, "data_dir")) for role in TASK_ROLES]
    encoders = config.get("encoder")
    if isinstance(encoders, dict):
        named += [(f"encoder.{name}.", node, ("weights",)) for name, node in encoders.items()]
    for where, node, keys in named:
        for key in keys:
            path = node.get(key) if isinstance(node, dict) else None
            yield from walk_paths(f"{where}{key}", path)


def _is_special(path: str) -> bool:
    try:
        found = Path(path).expanduser()
        return found.exists() and not (found.is_file() or found.is_dir())
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, no such user
        return False
