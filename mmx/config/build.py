"""Objects from config nodes, without executing anything outside the allowed packages.

A node is a mapping with ``_target_``, the dotted name of a class, and keyword values.
The name alone proves nothing: ``mmx.encoders.base.nn.Linear`` begins with an allowed
package and leads to torch. What counts is the module in which the object was defined.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from mmx.config import signature
from mmx.config.allowed import allow
from mmx.config.annotations import find_value_hint, list_classes
from mmx.errors import ConfigError, Problem, closest
from mmx.printable import shorten
from mmx.quoting import format_value
from mmx.renamed_options import find_class

TARGET = "_target_"
BUILTIN_PACKAGES = (
    "mmx.balance",
    "mmx.calibration",
    "mmx.encoders",
    "mmx.fusion",
    "mmx.mapping",
    "mmx.metrics",
    "mmx.missing",
    "mmx.modalities",
    "mmx.objectives",
    "mmx.sharing",
    "mmx.tasks",
    "mmx.trackers",
    "mmx.training",
    "mmx.transfer",
)
ObjectT = TypeVar("ObjectT")


class Builder:
    """Builds the objects of nodes, and collects what is wrong with them.

    Problems are collected instead of raised, so that all of a config is reported at once.

    Args:
        allowed: Further packages whose classes a config may name.

    Attributes:
        problems: Everything found so far; :meth:`finish` raises it.

    Example::

        builder = Builder()
        node = {"_target_": "mmx.transfer.heads.linear.Linear"}
        head = builder.build(node, Head, "transfer.head")   # None where something is wrong
        builder.finish()
    """

    def __init__(self, allowed: Collection[str] = ()) -> None:
        allow(allowed)
        self.packages = (*BUILTIN_PACKAGES, *sorted(allowed))
        self.problems: list[Problem] = []

    def finish(self) -> None:
        """Raise ConfigError if any problem was found."""
        if self.problems:
            raise ConfigError(dict.fromkeys(self.problems))  # each once, in order

    def build(self, node: Any, expected: type[ObjectT], path: str) -> ObjectT | None:
        """Return the object that a node describes, or None after noting its problems."""
        made = self.bind(node, expected, path)
        if made is None:
            return None
        try:
            return made()
        except ValueError as error:  # a constructor refuses a combination of options
            self.problems.append(Problem(path, str(error)))
        except OSError as error:  # a constructor looks for its files
            where = error.filename if isinstance(error.filename, str) else "a file"
            reason = f"{shorten(where)} cannot be looked at: {error.strerror or error}"
            self.problems.append(Problem(path, reason))
        return None

    def bind(
        self, node: Any, expected: type[ObjectT], path: str, supplied: Collection[str] = ()
    ) -> functools.partial[ObjectT] | None:
        """Return the node's class with its checked keyword values bound.

        Args:
            node: The mapping with ``_target_``.
            expected: The base class of the class.
            path: Where the node stands in the config, for messages.
            supplied: Keyword arguments that the caller passes later.
        """
        if not isinstance(node, dict) or TARGET not in node:
            self.problems.append(
                Problem(f"{path}={format_value(node)}", f"expected a node with {TARGET}")
            )
            return None
        before = len(self.problems)
        kind = self._find_class(node[TARGET], expected, path)
        if kind is None:
            return None
        hints = signature.resolve_hints(kind)
        values = {
            key: self._build_nested(value, hints.get(key), f"{path}.{key}")
            for key, value in node.items()
            if key != TARGET
        }
        if len(self.problems) > before:  # a nested node is wrong: its None would be reported too
            return None
        converted, problems = signature.check_values(kind, values, path, supplied)
        self.problems.extend(problems)
        return None if problems else functools.partial(kind, **converted)

    def call(
        self, target: Callable[..., ObjectT], values: Any, path: str, also: Sequence[str] = ()
    ) -> ObjectT | None:
        """Call a function or class with values, once its signature accepts them; None otherwise.

        Args:
            target: The function or class.
            values: Its keyword values.
            path: Where they stand in the config, for messages.
            also: Keys of the same place that other code reads; messages name them too.
        """
        if not isinstance(values, dict):
            given = f"{path}={format_value(values)}"
            keys = ", ".join(f"{path}.{name}" for name in signature.list_options(target))
            self.problems.append(Problem(given, "expected a mapping", accepted=keys))
            return None
        converted, problems = signature.check_values(target, values, path, also=also)
        self.problems.extend(problems)
        return None if problems else target(**converted)

    def _build_nested(self, value: Any, hint: Any, path: str) -> Any:
        """Return the object of a node where the annotation accepts one; other values unchanged.

        In a mapping ``dict[str, X]`` each value may be a node.
        """
        inner = find_value_hint(hint)
        if isinstance(value, dict) and TARGET not in value and inner is not None:
            return {
                key: self._build_nested(item, inner, f"{path}.{key}") for key, item in value.items()
            }
        kinds = list_classes(hint)
        if isinstance(value, dict) and TARGET in value and kinds:
            return self.build(value, kinds[0] if len(kinds) == 1 else object, path)
        return value

    def _find_class(self, name: Any, expected: type[ObjectT], path: str) -> type[ObjectT] | None:
        given = f"{path}.{TARGET}={format_value(name)}"
        if not isinstance(name, str) or not name.rpartition(".")[0]:
            self.problems.append(Problem(given, "expected the dotted name of a class"))
            return None
        try:
            found = locate(name, self.packages)
        except Exception as error:  # a user's module may raise anything while it is imported
            self.problems.append(self._explain_failure(given, name, error))
            return None
        if not (inspect.isclass(found) and issubclass(found, expected)):
            self.problems.append(Problem(given, f"is not a kind of {expected.__name__}"))
            return None
        if inspect.isabstract(found):
            lacks = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
            self.problems.append(Problem(given, f"is abstract: it lacks {lacks}"))
            return None
        return found

    def _explain_failure(self, given: str, name: str, error: Exception) -> Problem:
        """Return why a class could not be had."""
        if isinstance(error, PermissionError):
            package = str(error.args[0]).split(".", maxsplit=1)[0]
            trust = f"--allow {package}   (only if you trust it: it will be executed)"
            return Problem(
                given,
                f"comes from {error.args[0]}, which no one allowed",
                accepted=", ".join(self.packages),
                type_this=None if package == "mmx" else trust,
            )
        if isinstance(error, (ImportError, AttributeError)):
            return _explain_absence(given, name, error)
        return Problem(given, f"cannot be imported: {type(error).__name__}: {error}")


def _explain_absence(given: str, name: str, error: ImportError | AttributeError) -> Problem:
    """Return why there is no such class, or what it is called now."""
    if renamed := find_class(name):
        return Problem(given, renamed.why, type_this=renamed.advice)
    reason = f"does not exist ({error})"
    if missing := _missing_package(name, error):
        reason += (
            f"; install {missing}, put the folder that holds it on PYTHONPATH, "
            "or run mmx from that folder"
        )
    return Problem(given, reason, closest=_nearest_class(name))


def locate(name: str, packages: Collection[str]) -> Any:
    """Return the object that a dotted name leads to: a module, and one name defined in it.

    Only the module's own dictionary is read, without calling its ``__getattr__``, so that a name
    cannot lead out of the allowed packages.

    Raises:
        PermissionError: The name, or the object it leads to, lies outside ``packages``;
            its first argument is the module at fault. Only modules that the name begins
            with have been imported by then.
        ImportError, AttributeError: There is no such object.
    """
    module_name, _, attribute = name.rpartition(".")
    if not _inside(name, packages):
        raise PermissionError(name)
    module = importlib.import_module(module_name)
    if attribute not in vars(module):
        raise AttributeError(f"module '{module_name}' has no attribute '{attribute}'")
    found = vars(module)[attribute]
    home = str(getattr(found, "__module__", None) or getattr(found, "__name__", "?"))
    if not _inside(home, packages):
        raise PermissionError(home)
    return found


def _inside(name: str, packages: Collection[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def _missing_package(name: str, error: Exception) -> str | None:
    """Return the user's package that a dotted name begins with, if it could not be found."""
    package = name.partition(".")[0]
    missing = isinstance(error, ModuleNotFoundError) and error.name == package
    return package if missing and package != "mmx" else None


def _nearest_class(name: str) -> str | None:
    module_name, _, attribute = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        return None
    near = closest(
        attribute, [key for key, value in vars(module).items() if inspect.isclass(value)]
    )
    return near and f"{module_name}.{near}"
