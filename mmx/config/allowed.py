"""Imports from the working directory: only packages that were allowed by name.

The working directory may be untrusted: a downloaded folder with a ``yaml.py``, a ``pandas.py``
or a ``hydra_plugins/`` in it. So it comes last on the path, after everything that is installed,
and only packages that the user named are imported from it.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path
from types import ModuleType


class _Guard(MetaPathFinder):
    """Refuses imports from a guarded folder on the path, except of allowed packages."""

    def __init__(self) -> None:
        self.allowed: dict[str, set[str]] = {}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Find modules that lie in a guarded folder and were not allowed, so that loading fails.

        The search itself must not fail: libraries search for optional modules without importing
        them.
        """
        if path is not None or not self.allowed:  # a path is given for submodules only
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, None, target)
        if spec is None:
            return None
        for folder, names in self.allowed.items():
            if fullname not in names and all(where == folder for where in _find_folders(spec)):
                return importlib.machinery.ModuleSpec(fullname, _Refusal(), origin=spec.origin)
        return None


class _Refusal(Loader):
    """A loader that refuses to load."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Refuse.

        Raises:
            ModuleNotFoundError: Always; says how to allow the module.
        """
        raise ModuleNotFoundError(
            f"{spec.name} lies in the working directory and was not allowed "
            f"(--allow {spec.name}, if you trust it)",
            name=spec.name,
        )

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: no module was made."""


def _find_folders(spec: importlib.machinery.ModuleSpec) -> list[str]:
    """Return the folders that contain a module's file, or the parts of a namespace package."""
    places = spec.submodule_search_locations
    if places is None:
        places = [spec.origin] if spec.has_location and spec.origin else [""]
    return [str(Path(place).parent) for place in places]


_GUARD = _Guard()


def allow(packages: Collection[str]) -> None:
    """Let packages be imported from the working directory, if they are not installed."""
    if not packages:
        return
    here = str(Path.cwd())
    if here not in _GUARD.allowed:
        if here in sys.path:  # the user put it there, for example by PYTHONPATH
            return
        _GUARD.allowed[here] = set()
    if here not in sys.path:
        sys.path.append(here)
    if _GUARD not in sys.meta_path:
        sys.meta_path.insert(0, _GUARD)
    _GUARD.allowed[here].update(name.partition(".")[0] for name in packages)


@contextmanager
def hide_guarded() -> Iterator[None]:
    """Keep guarded folders off the path inside the ``with`` block.

    Worker processes that are started there inherit the path but not the guard; :func:`allow`,
    called in the worker, adds both.
    """
    before = list(sys.path)
    sys.path[:] = [entry for entry in before if entry not in _GUARD.allowed]
    try:
        yield
    finally:
        sys.path[:] = before


@contextmanager
def hide_working_directory() -> Iterator[None]:
    """Import nothing from the working directory inside the ``with`` block."""
    here, before = Path.cwd().resolve(), list(sys.path)
    sys.path[:] = [entry for entry in before if entry and Path(entry).resolve() != here]
    try:
        yield
    finally:
        sys.path[:] = before
