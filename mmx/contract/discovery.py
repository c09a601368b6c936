"""mmx's own classes of a kind, found by importing every module of their package."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from mmx.contract.kinds import KINDS

PACKAGES = {
    "calibration": "mmx.calibration",
    "encoder": "mmx.encoders",
    "fusion": "mmx.fusion",
    "head": "mmx.transfer.heads",
    "mapping": "mmx.mapping",
    "metric": "mmx.metrics",
    "missing": "mmx.missing",
    "objective": "mmx.objectives",
    "regularizer": "mmx.transfer.regularizers",
    "task": "mmx.tasks",
    "tracker": "mmx.trackers",
}


def find_classes(kind: str) -> list[type[Any]]:
    """Return mmx's own classes of a kind that can be instantiated.

    Abstract classes are left out, those that declare a class variable without a value, and those
    that only stand for another.

    Args:
        kind: Name of a kind of :data:`~mmx.contract.kinds.KINDS`.

    Returns:
        The classes, sorted by name, then by module.
    """
    package = importlib.import_module(PACKAGES[kind])
    _import_all(package)
    found: set[type[Any]] = set()
    queue: list[type[Any]] = [KINDS[kind].base]
    while queue:
        for child in queue.pop().__subclasses__():
            queue.append(child)
            inside = child.__module__.startswith(f"{package.__name__}.")
            stands_in = getattr(child, "stands_in", False)
            if inside and not stands_in and not find_missing_members(child):
                found.add(child)
    return sorted(found, key=lambda each: (each.__name__, each.__module__))


def _import_all(package: ModuleType) -> None:
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)


def find_missing_members(kind: type[Any]) -> list[str]:
    """Return the members that a class leaves to its subclasses.

    Args:
        kind: A class of a part.

    Returns:
        The names of abstract methods, and of class variables that are declared without a value.
    """
    abstract = sorted(getattr(kind, "__abstractmethods__", ()))
    declared = vars(kind).get("__annotations__", {})
    unset = [
        name
        for name, hint in declared.items()
        if str(hint).startswith("ClassVar") and not hasattr(kind, name)
    ]
    return [*abstract, *unset]
