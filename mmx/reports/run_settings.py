"""What of a run was set, and what to type to run it again."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from mmx.errors import UnreadableFileError
from mmx.reports.page import Grid
from mmx.runs.directory import RunDirectory
from mmx.runs.manifest import Manifest
from mmx.untrusted import read_yaml


def read_overrides(directory: RunDirectory) -> list[str]:
    """Return what was set when a run was started; empty where it is not recorded."""
    found = directory.manifest().overrides
    if found:
        return found
    try:
        kept = read_yaml(directory.path / ".hydra" / "overrides.yaml", list)
    except UnreadableFileError:
        return []
    return [str(each) for each in kept]


def list_settings(directory: RunDirectory) -> Grid | None:
    """Return the settings that were given and so may differ from the defaults."""
    found = {}
    for each in read_overrides(directory):
        key, sign, value = each.partition("=")
        found[key] = value if sign else "removed"
    if not found:
        return None
    return Grid("Settings that were given", ("setting", "value"), tuple(found.items()))


def list_commands(directory: RunDirectory) -> dict[str, str]:
    """Return what to type to run the same again, and to start from the same settings."""
    run = find_name(directory.path, directory.manifest())
    found = {"the same numbers, in a new run": shlex.join(["mmx", "reproduce", run])}
    if overrides := read_overrides(directory):
        found["the same settings, to be changed"] = shlex.join(["mmx", "train", *overrides])
    return found


def find_name(path: Path, manifest: Manifest) -> str:
    """Return a run directory as it is called where the run was started."""
    where = manifest.cwd
    if where is not None and path.is_relative_to(where):
        return str(path.relative_to(where))
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
