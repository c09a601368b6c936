"""Variants: the name of a class in a config, and the classes that a folder of mmx defines."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from inspect import signature
from typing import Any, TypeVar

T = TypeVar("T")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def variant_name(target: str) -> str:
    """Return the name of a class, given by its dotted path.

    A class of mmx is named as its module, and so as its YAML file. In a user's package several
    classes may share a module, so there the class's own name counts, in snake case::

        mmx.fusion.concat.Concat    concat
        mine.fusions.GatedSum       gated_sum

    Args:
        target: Module and class, as in ``_target_``.
    """
    parts = target.split(".")
    if parts[0] == "mmx" and len(parts) > 2:
        return parts[-2]
    return _WORDS.sub("_", parts[-1]).lower()


def variant(kind: type) -> str:
    """Return the name of a class."""
    return variant_name(f"{kind.__module__}.{getattr(kind, '__qualname__', '')}")


@cache
def find_variants(package: str, base: type[T], *, skip: tuple[str, ...] = ()) -> dict[str, type[T]]:
    """Return the variants that the files of a package define, by file name, sorted.

    A file that defines no concrete subclass of ``base`` is a helper and is skipped. A new variant
    is a new file; there is no list to add it to::

        find_variants("mmx.transfer.regularizers", Regularizer)   {"bi_tuning": BiTuning, ...}

    Args:
        package: Its dotted name; packages inside it are not searched.
        base: The class that the variants derive from.
        skip: Files that are not searched.

    Raises:
        RuntimeError: A file defines several such classes.
    """
    found: dict[str, type[T]] = {}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if module.ispkg or module.name in skip:
            continue
        kinds = _list_defined(f"{package}.{module.name}", base)
        if len(kinds) > 1:
            names = ", ".join(kind.__name__ for kind in kinds)
            raise RuntimeError(f"{package}.{module.name} defines several variants: {names}")
        found.update(dict.fromkeys([module.name] if kinds else [], *kinds))
    return dict(sorted(found.items()))


def _list_defined(module: str, base: type[T]) -> list[type[T]]:
    """Return the classes of a module that derive from a base and are not abstract."""
    return [
        kind
        for _, kind in inspect.getmembers(importlib.import_module(module), inspect.isclass)
        if kind.__module__ == module
        and issubclass(kind, base)
        and not inspect.isabstract(kind)
        and not kind.__name__.startswith("_")
    ]


def class_of(make: Callable[..., Any]) -> Any:
    """Return the class of ``make``, which may have its options bound."""
    return make.func if isinstance(make, partial) else make


def is_own(kind: Any) -> bool:
    """Return whether a class was defined outside mmx."""
    return not str(kind.__module__).startswith("mmx.")


def read_options(
    key: str, chosen: str, kinds: Mapping[str, Callable[..., Any]], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options that were given, after checking that the chosen variant takes them.

    For a class with options that it passes on to one of several variants: ``amount`` to a
    sparsity pattern, ``rank`` to an adapter.

    Args:
        key: The option of the transfer mode that chooses the variant.
        chosen: The variant's name.
        kinds: Name to class of the variants that can be chosen.
        given: Option to value; None where it was not given.

    Raises:
        ValueError: One is given that the variant does not take.
    """
    found = {name: value for name, value in given.items() if value is not None}
    for name, value in found.items():
        readers = [each for each, kind in kinds.items() if name in signature(kind).parameters]
        if chosen not in readers:
            where = " or ".join(readers)
            raise ValueError(
                f"`{name}` (={value:g}) is read only where `{key}` is {where}: set "
                f"transfer.{key}={readers[0]} or transfer.{name}=null"
            )
    return found
