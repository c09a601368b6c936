"""The class for ``mmx check``: its name, where it is found, and its kind."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mmx.config.build import BUILTIN_PACKAGES, locate
from mmx.config.locate import find_options
from mmx.config.part_packages import find_part_packages
from mmx.contract import KINDS, PartKind, kind_of
from mmx.contract.discovery import find_missing_members
from mmx.contract.faults import describe_fault
from mmx.errors import UsageError, closest
from mmx.printable import shorten
from mmx.untrusted import read_yaml


@dataclass(frozen=True)
class NamedClass:
    """A class by its name.

    Attributes:
        module: Dotted.
        name: Of the class.
    """

    module: str
    name: str

    @property
    def package(self) -> str:
        """The outermost package."""
        return self.module.split(".")[0]

    @property
    def dotted_name(self) -> str:
        """Module and class, as a config names them."""
        return f"{self.module}.{self.name}"


def read_name(given: str) -> NamedClass:
    """Return what ``MODULE:CLASS`` or ``MODULE.CLASS`` names.

    Raises:
        UsageError: It names no class of a module.
    """
    if "=" in given:
        raise _option_error(given)
    path, colon, name = given.partition(":")
    if path.endswith(".py") or "/" in path or "\\" in path:
        module = path.removesuffix(".py").replace("\\", "/").strip("./").replace("/", ".")
        raise UsageError(
            f"{given} names a file; a class is named by its module",
            tip=f"mmx check {module}:{name or '<Class>'}",
        )
    module, _, last = path.rpartition(".")
    found = NamedClass(path, name) if colon else NamedClass(module, last)
    words = [*found.module.split("."), found.name]
    if not all(word.isidentifier() for word in words):
        raise _name_error(given)
    return found


def _option_error(given: str) -> UsageError:
    """Return the error for ``group=option``, with the class that the option names."""
    group, _, option = given.partition("=")
    options = find_options(group)
    near = option if option in options else closest(option, list(options))
    if near is None:
        return _name_error(given)
    path = options[near]
    target = read_yaml(path, dict).get("_target_")
    kind = group.partition("/")[0] if "/" in group else path.parent.name  # target=digits: task
    if not isinstance(target, str):
        return _name_error(given)
    if kind not in KINDS:
        return UsageError(
            f"{shorten(given)} is an option of a kind without a contract; the kinds that have one "
            f"are {', '.join(KINDS)}"
        )
    module, _, name = target.rpartition(".")
    # A task cannot be made without options, such as its name: those of its file are taken.
    config = f" --config {shlex.quote(str(path))}" if kind == "task" else ""
    meant = "" if near == option else f"; there is no {shorten(given)}, but {group}={near}"
    return UsageError(
        f"{shorten(given)} is an option, and a class is checked{meant}",
        tip=f"mmx check {module}:{name}{config}",
    )


def _name_error(given: str) -> UsageError:
    return UsageError(
        f"{shorten(given)!r} names no class of a module",
        tip="mmx check my_package.my_module:MyClass",
    )


def find_named(named: NamedClass, packages: Sequence[str]) -> tuple[PartKind, type]:
    """Return the class and the kind that it is of.

    Raises:
        UsageError: There is none, it cannot be imported, it is of no kind that has a contract,
            or it is abstract.
    """
    try:
        found = locate(named.dotted_name, packages)
    except PermissionError as error:
        package = str(error.args[0]).split(".")[0]
        if package == "?":  # a plain value, such as a text, has no module
            raise UsageError(f"{named.module}:{named.name} is not a class") from error
        raise UsageError(
            f"{named.module}:{named.name} comes from {error.args[0]}, which was not named",
            tip=f"mmx check {named.module}:{named.name} --allow {package}",
        ) from error
    except ModuleNotFoundError as error:
        raise _module_error(named, error) from error
    except AttributeError as error:
        raise _class_error(_find_module(named), named.name) from error
    except (Exception, SystemExit) as error:  # a module may raise anything while it is imported
        raise UsageError(f"{named.module} cannot be imported: {describe_fault(error)}") from error
    if inspect.ismodule(found):
        raise _class_error(found)
    kind = kind_of(found) if inspect.isclass(found) else None
    if kind is None:
        raise _kind_error(named, found)
    if lacking := find_missing_members(found):
        raise UsageError(f"{named.module}:{named.name} is abstract: it lacks {', '.join(lacking)}")
    return kind, found


def _module_error(named: NamedClass, error: ModuleNotFoundError) -> UsageError:
    missing = str(error.name or named.module)
    if not f"{named.module}.".startswith(f"{missing}."):
        return UsageError(f"{named.module} cannot be imported: {describe_fault(error)}")
    parent, _, last = missing.rpartition(".")
    folder = importlib.import_module(parent).__path__ if parent else [str(Path.cwd())]
    known = [each.name for each in pkgutil.iter_modules(folder)]
    if not parent:
        known += [each.package for each in find_part_packages()]
    near = closest(last, known)
    tip = f"run it in the folder that holds {named.package}, or put that on PYTHONPATH"
    if near:
        other = f"{parent}.{near}" if parent else near
        tip = f"mmx check {named.module.replace(missing, other, 1)}:{named.name}"
    return UsageError(f"there is no module {missing}", tip=tip)


def _find_module(named: NamedClass) -> ModuleType:
    """Return the module that was meant: the whole name if it is a module, else all but its end."""
    try:
        return importlib.import_module(named.dotted_name)
    except ImportError:
        return importlib.import_module(named.module)


def _class_error(module: ModuleType, name: str = "") -> UsageError:
    own = [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__
    ]
    near = closest(name, own) or (own[0] if own else None)
    is_module = not name or module.__name__.endswith(f".{name}")
    said = "is a module" if is_module else f"has no class {name}"
    has = f"its classes are {', '.join(own)}" if own else "it has no classes of its own"
    tip = near and f"mmx check {module.__name__}:{near}"
    return UsageError(f"{module.__name__} {said}; {has}", tip=tip)


def _kind_error(named: NamedClass, found: object) -> UsageError:
    name = f"{named.module}:{named.name}"
    if not inspect.isclass(found):
        return UsageError(f"{name} is a {type(found).__name__}, not a class")
    kinds = ", ".join(KINDS)
    if own := _find_base(found):
        return UsageError(
            f"{name} is a kind of {own.__module__}.{own.__name__}, and there is no contract yet to "
            f"check it against; the kinds that have one are {kinds}",
            tip="train with it: its config is checked first, and then the run tries it",
        )
    base = KINDS[_guess_kind(found)].base
    return UsageError(
        f"{name} is of no kind that has a contract: {kinds}",
        tip=f"derive it from the base of its kind, such as {base.__module__}.{base.__name__}",
    )


def _find_base(found: type) -> type | None:
    """Return the most general base of a class that is a part of mmx, or None."""
    return next((each for each in reversed(found.__mro__) if _is_part(each)), None)


def _is_part(found: type) -> bool:
    """Return whether a class is defined in a package of mmx's parts."""
    return any(found.__module__.startswith(f"{package}.") for package in BUILTIN_PACKAGES)


def _guess_kind(found: type) -> str:
    """Return the most likely kind of a class, by its name or by the names of its methods."""
    name = f"{found.__module__}.{found.__name__}".lower()
    methods = {
        kind: len(set(vars(found)) & set(vars(each.base)) - set(vars(object)))
        for kind, each in KINDS.items()
    }
    return max(KINDS, key=lambda kind: (kind in name, methods[kind]))
