"""The data paths of a config: made absolute, and searched for misplaced ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmx.config.nodes import ConfigNode
from mmx.errors import Problem
from mmx.runs.essence import FILE_OPTIONS
from mmx.stage_id import TASK_ROLES
from mmx.tasks.addresses import is_address, strip_file_scheme


def find_misplaced_paths(config: ConfigNode) -> Iterator[Problem]:
    """Yield relative paths that do not exist in the working directory, but in ``data_dir``."""
    for role in TASK_ROLES:
        node = config.get(role)
        given = node if isinstance(node, dict) else {}
        for key in ("path", "root"):
            path = given.get(key)
            if not isinstance(path, str) or Path(_make_absolute(path)).exists():
                continue
            data = _make_absolute(str(config.get("data_dir")))
            if (Path(data) / path).exists():
                yield Problem(
                    f"{role}.{key}={path}",
                    f"is looked for in the working directory, {Path.cwd()}, and is in {data}",
                    type_this=f"'{role}.{key}=${{data_dir}}/{path}'",
                )


def make_paths_absolute(config: ConfigNode) -> ConfigNode:
    """Return the config with absolute data paths, so that it means the same in any directory."""
    config = dict(config)
    if isinstance(config.get("data_dir"), str):
        config["data_dir"] = _make_absolute(config["data_dir"])
    for role in TASK_ROLES:
        node = config.get(role)
        if isinstance(node, dict):
            config[role] = {
                key: _make_all_absolute(value) if key in ("path", "root", "data_dir") else value
                for key, value in node.items()
            }
    if isinstance(nodes := config.get("encoder"), dict):
        config["encoder"] = {
            name: {key: _make_file_absolute(key, value) for key, value in node.items()}
            if isinstance(node, dict)
            else node
            for name, node in nodes.items()
        }
    return config


def _make_file_absolute(key: str, value: Any) -> Any:
    """Return an encoder's option, absolute where it names a file or folder.

    A ``model`` is a folder where it is written like one, or where there is one of that name;
    else the name of an architecture or a repository.
    """
    if key not in FILE_OPTIONS or not isinstance(value, str):
        return value
    path = Path(value).expanduser()
    named = key == "weights" or path.is_absolute() or value.startswith((".", "~"))
    return _make_absolute(value) if named or path.exists() else value


def _make_all_absolute(value: Any) -> Any:
    """Return a path, a list of paths or a mapping to such, absolute."""
    if isinstance(value, dict):
        return {key: _make_all_absolute(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_make_all_absolute(each) for each in value]
    if not isinstance(value, str) or value == "???" or is_address(value):
        return value
    return _make_absolute(strip_file_scheme(value))


def _make_absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())
