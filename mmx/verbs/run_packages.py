"""Installed packages whose parts a run is made of: whether they are here, as the run had them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from mmx.config.nodes import ConfigNode
from mmx.config.part_packages import find_part_packages
from mmx.errors import ConfigError, Problem
from mmx.experiment.identify import walk_nodes
from mmx.runs.directory import RunDirectory

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9.!+_-]+")


def require_packages(directory: RunDirectory, config: ConfigNode) -> None:
    """Check that packages that offered parts of a run can be found; nothing is imported.

    Raises:
        ConfigError: One cannot; the message says which to install.
    """
    manifest = directory.manifest()
    first: dict[str, tuple[str, str]] = {}
    for path, target in walk_nodes(config):
        first.setdefault(target.partition(".")[0], (path, target))
    problems = [
        _name_absent(*first[package], name, manifest.versions.get(name))
        for package, name in manifest.packages.items()
        if package in first and not _is_here(package)
    ]
    if problems:
        raise ConfigError(problems)


def list_other_versions(directory: RunDirectory) -> Iterator[str]:
    """Yield a note for each package that is here in another version than the run had."""
    manifest = directory.manifest()
    here = {each.distribution: each.version for each in find_part_packages()}
    for name in manifest.packages.values():
        was, now = manifest.versions.get(name), here.get(name)
        if was and now and was != now:
            yield f"the run was made with {name} {was}, and {now} is here: numbers may differ"


def _name_absent(path: str, target: str, name: str, version: str | None) -> Problem:
    """Return the problem of a package that is not here; a run may come from anybody."""
    package = target.partition(".")[0]
    made = f"{name} {version}" if version else name
    wanted = f"{name}=={version}" if version else name
    usable = _NAME.fullmatch(name) and _VERSION.fullmatch(version or "0")
    return Problem(
        f"{path}={target}",
        f"{package} is not installed; the run was made with {made}",
        type_this=f"pip install '{wanted}'   (if you trust it; then again with --allow {package})"
        if usable
        else None,
    )


def _is_here(package: str) -> bool:
    """Return whether Python finds a package, also in the working directory."""
    try:
        found = importlib.util.find_spec(package) or PathFinder.find_spec(
            package, [str(Path.cwd())]
        )
    except (ImportError, ValueError):
        return False
    return found is not None
