"""What there is to choose from, read from ``configs/`` and from the classes that its files name.

Tests take their lists from here, so that a new variant is in all of them once its file is there,
and no expected text has to be changed.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Iterable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, get_type_hints

import pydantic
import yaml

CONFIGS = Path(__file__).parent.parent / "configs"
FILES = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent != CONFIGS)
"""All options of all groups."""
ROOT: dict[str, Any] = yaml.safe_load((CONFIGS / "config.yaml").read_text(encoding="utf-8"))
_CHOSEN = [
    group
    for item in ROOT["defaults"]
    if isinstance(item, dict)
    for group in item
    if not group.startswith("override ")
]
_TOPS = [group.split("/")[0] for group in _CHOSEN]
GROUPS = sorted(_CHOSEN, key=lambda group: (_TOPS.index(group.split("/")[0]), group))
"""Groups of which a command line chooses an option, in the order of a run; encoders by name."""
ROLES = ("source", "target")
SHARED = {**dict.fromkeys(ROLES, "task"), "source_objective": "objective"}
"""Group to the folder whose options it takes too."""


_BY_FOLDER: dict[str, list[Path]] = {}
for _path in FILES:
    _BY_FOLDER.setdefault(_path.parent.relative_to(CONFIGS).as_posix(), []).append(_path)


def folder(group: str) -> list[Path]:
    """Return the files of ``configs/<group>``, sorted by name."""
    return list(_BY_FOLDER.get(group, ()))


def options(group: str) -> dict[str, Path]:
    """Return the names that may be chosen in a group, sorted, with their files."""
    files = [*folder(group), *folder(SHARED.get(group, group))]
    return {path.stem: path for path in sorted(files, key=lambda path: path.stem)}


def variants(group: str) -> dict[str, Path]:
    """Return the options of a group that name a class, with their files."""
    return {name: path for name, path in options(group).items() if "_target_" in read(path)}


def read(path: Path) -> dict[str, Any]:
    """Return what a file states."""
    return copy.deepcopy(_read_once(path))


@functools.cache
def _read_once(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def class_of(path: Path) -> type[Any]:
    """Return the class that a file names."""
    found: type[Any] = resolve_name(read(path)["_target_"])
    return found


def classes(group: str) -> dict[str, type[Any]]:
    """Return name to class of the variants of a group."""
    return {name: class_of(path) for name, path in variants(group).items()}


def keys(group: str, option: str) -> list[str]:
    """Return the keys that an option has, in the order of its file."""
    return [key for key in read(options(group)[option]) if key != "_target_"]


def make_up_required(path: Path) -> dict[str, Any]:
    """Return a value for each option that a file leaves to the user (``???``), of its type."""
    required = [name for name, value in read(path).items() if value == "???"]
    hints = get_type_hints(class_of(path).__init__, include_extras=True) if required else {}
    return {name: _make_up(hints[name]) for name in required}


def _make_up(hint: Any) -> Any:
    """Return the first of a few plain values that an annotation accepts."""
    adapter = pydantic.TypeAdapter(hint)
    for value in ("given", 1, 0.5, ["given"], {"given": "given"}):
        with contextlib.suppress(pydantic.ValidationError):
            adapter.validate_python(value, strict=True)
            return value
    raise ValueError(f"no plain value is known for {hint}")


def with_key(group: str, key: str) -> list[str]:
    """Return the options of a group that have a key."""
    return [option for option in options(group) if key in keys(group, option)]


def root_keys() -> list[str]:
    """Return the keys of the root config that are no group."""
    return [key for key in ROOT if key not in {"defaults", "trainer", "hydra"}]


def listed(names: Iterable[str], prefix: str = "") -> str:
    """Return names as messages list them."""
    return ", ".join(f"{prefix}{name}" for name in names)


def starting(beginning: str, names: Iterable[str], prefix: str = "") -> list[str]:
    """Return the names that start so, each behind a prefix."""
    return [f"{prefix}{name}" for name in names if name.startswith(beginning)]


def literals(hint: object) -> list[str]:
    """Return the texts of the ``Literal`` in an annotation."""
    inner = getattr(hint, "__args__", ())
    texts = [each for each in inner if isinstance(each, str)]
    return texts or [text for each in inner for text in literals(each)]


def defaults(kind: Any) -> dict[str, Any]:
    """Return the keyword arguments of a class with their defaults."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
