"""A node's values against the signature of what it names: names, types and ranges."""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import pydantic

from mmx.errors import Problem, closest
from mmx.quoting import quote_for_shell, quote_value, type_override

MISSING = "???"
_WORDS = {int: "an integer", float: "a number", str: "text", bool: "true or false"}
_SWITCHES = {
    **dict.fromkeys(("yes", "on", "1"), "true"),
    **dict.fromkeys(("no", "off", "0"), "false"),
}
_BOUNDS = {
    annotated_types.Ge: ("≥", "ge"),
    annotated_types.Gt: (">", "gt"),
    annotated_types.Le: ("≤", "le"),
    annotated_types.Lt: ("<", "lt"),
}


def parameters(target: Callable[..., Any], supplied: Collection[str] = ()) -> dict[str, Any]:
    """Return the keyword parameters a config may set, name to ``inspect.Parameter``.

    Args:
        target: A class or function.
        supplied: Keyword parameters that the assembly gives, closed to configs.
    """
    return {
        name: parameter
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in supplied
    }


def hints_of(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the resolved annotations of a class's constructor or of a function."""
    if dataclasses.is_dataclass(target):  # each field in the module of the class that has it
        return typing.get_type_hints(target, include_extras=True)
    function: Any = target
    if inspect.isclass(target):
        function = target.__init__
    return typing.get_type_hints(function, include_extras=True)


def check(
    target: Callable[..., Any], values: dict[str, Any], path: str, supplied: Collection[str] = ()
) -> tuple[dict[str, Any], list[Problem]]:
    """Return the values converted to their annotated types, and every problem found."""
    allowed, hints = parameters(target, supplied), hints_of(target)
    every = inspect.signature(target).parameters
    problems: list[Problem] = []
    converted: dict[str, Any] = {}
    for name, value in values.items():
        where = f"{path}.{name}" if path else name
        hint = hints.get(name, Any)
        if name not in allowed:
            positional = (
                name in every and every[name].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
            )
            problems.append(
                Problem(
                    f"{where}={show(value)}",
                    f"{target.__qualname__} takes {name} by position too: a config sets only what "
                    "stands after a * in the signature",
                )
                if positional and name not in supplied
                else _unknown(where, str(name), value, path, list(allowed))
            )
        elif isinstance(value, str) and value == MISSING:
            problems.append(_missing(where, hint))
        else:
            try:
                converted[name] = _convert(hint, value)
            except (pydantic.ValidationError, TypeError):
                problems.append(_misfit(where, value, hint, allowed[name].default))
    for name, parameter in allowed.items():
        if parameter.default is parameter.empty and name not in values:
            problems.append(_missing(f"{path}.{name}" if path else name, hints.get(name, Any)))
    return converted, problems


def _convert(hint: Any, value: Any) -> Any:
    """Return the value as its annotation wants it; bool, NaN and infinity are no numbers."""
    config = pydantic.ConfigDict(
        arbitrary_types_allowed=True,
        allow_inf_nan=False,
        coerce_numbers_to_str=True,  # 3 names a class, a column or a label as well as "3" does
    )
    converted = pydantic.TypeAdapter(hint, config=config).validate_python(value)
    if isinstance(value, bool) is not isinstance(converted, bool):
        raise TypeError(value)
    return converted


def _unknown(where: str, name: str, value: Any, path: str, allowed: list[str]) -> Problem:
    near = closest(name, allowed)
    prefix = f"{path}." if path else ""
    return Problem(
        f"{where}={show(value)}",
        "no code reads this key",
        accepted=", ".join(f"{prefix}{key}" for key in allowed) or "no keys",
        closest=near and prefix + near,
        type_this=near and type_override(prefix + near, value),
    )


def _missing(where: str, hint: Any) -> Problem:
    return Problem(where, "needs a value", accepted=describe(hint), type_this=_example(where, hint))


def _example(where: str, hint: Any) -> str:
    word = words(hint)
    return f"'{where}={word}'" if word.startswith("{") else f"{where}=<{word}>"


def _misfit(where: str, value: Any, hint: Any, default: Any) -> Problem:
    given, reason = f"{where}={show(value)}", f"expected {describe(hint)}"
    if isinstance(value, float) and math.isinf(value) and "a number" in reason:
        reason += ", finite"
    choices = [str(choice) for choice in _choices(hint)]
    if value is True and "none" in choices:  # of what may be on in several ways
        ways = [f"{where}={choice}" for choice in choices if choice != "none"]
        others = f"   (or {', '.join(ways[1:])})" if len(ways) > 1 else ""
        return Problem(given, reason, type_this=ways[0] + others)
    if meant := _meant(hint, value):
        return Problem(given, reason, type_this=quote_for_shell(f"{where}={meant}"))
    if (mended := _mended_list(hint, value)) is not None:
        near = [str(new) for new, old in mended if new != old and str(new) in choices]
        example = type_override(where, [new for new, _ in mended])
        return Problem(given, reason, closest=", ".join(near) or None, type_this=example)
    near_choice = closest(str(value), choices)
    plain = isinstance(default, (type(None), bool, int, float, str, list, tuple))
    shown = near_choice or (quote_value(default) if plain else None)
    if shown == "null" and choices:
        shown = choices[0]
    typed = shown and quote_for_shell(f"{where}={shown}")
    return Problem(given, reason, closest=near_choice, type_this=typed)


def _meant(hint: Any, value: Any) -> str | None:
    """Return what a word other than true and false, or a pair without braces, stands for."""
    text, parts = str(value).lower(), (hint, *get_args(hint))
    if bool in parts and (switch := _SWITCHES.get(text)):
        return switch
    key, colon, item = str(value).partition(":")
    if colon and isinstance(value, str) and any(dict in (part, get_origin(part)) for part in parts):
        return f"{{{key.strip()}: {item.strip()}}}"
    return None


def _mended_list(hint: Any, value: Any) -> list[tuple[Any, Any]] | None:
    """Return the items of a list that would be accepted, each with the one given in its place.

    A single value is taken for a list of one where nothing else but a list is accepted. None
    where no list is, or none is near.
    """
    if get_origin(hint) in (Union, types.UnionType):
        parts = [part for part in get_args(hint) if part is not type(None)]
        if len(parts) > 1 and not isinstance(value, (list, tuple)):
            return None
        found = (_mended_list(part, value) for part in parts)
        return next((mended for mended in found if mended is not None), None)
    inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(inner) not in (list, tuple) or isinstance(value, dict):
        return None
    item = next(iter(get_args(inner)), Any)
    given = list(value) if isinstance(value, (list, tuple)) else [value]
    pairs = [(_mended_item(item, each), each) for each in given]
    mended = list({repr(new): (new, each) for new, each in pairs}.values())
    try:
        _convert(hint, [new for new, _ in mended])
    except (pydantic.ValidationError, TypeError):
        return None
    return mended


def _mended_item(hint: Any, value: Any) -> Any:
    """Return the accepted value nearest to one of a list: a choice, or a bound of a number."""
    try:
        _convert(hint, value)
    except (pydantic.ValidationError, TypeError):
        if near := closest(str(value), [str(choice) for choice in _choices(hint)]):
            return near
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        bounds = [item for extra in get_args(hint)[1:] for item in getattr(extra, "metadata", ())]
        for bound in bounds if number else ():
            least, most = getattr(bound, "ge", None), getattr(bound, "le", None)
            if least is not None and value < least:
                return least
            if most is not None and value > most:
                return most
    return value


def _choices(hint: Any) -> list[Any]:
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [choice for part in get_args(hint) for choice in _choices(part)]


def words(hint: Any) -> str:
    """Return one word for a value of this annotation."""
    text = describe(hint)
    if "mapping" in text:
        return "{key: value}"
    return text.split(" ")[-1] if text.startswith(("a ", "an ")) else text.split(" ")[0]


def describe(hint: Any) -> str:
    """Return in words what an annotation accepts."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = [_bounds(extra) for extra in parts[1:]]
        return " ".join([describe(parts[0]), *filter(None, [" and ".join(filter(None, bounds))])])
    if origin is Literal:
        return "one of " + ", ".join(show(part) for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(_alternative(part) for part in parts)
    if origin in (list, tuple) or hint in (list, tuple):
        inner = [part for part in parts if part is not Ellipsis]
        return "a list" + (f" of {_plural(describe(inner[0]))}" if inner else "")
    if origin is dict or hint is dict:
        return "a mapping {key: value}"
    if hint is type(None):
        return "null"
    if hint in _WORDS:
        return _WORDS[hint]
    if hint is Any:
        return "a value"
    name = getattr(hint, "__name__", str(hint))
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name} (a node with _target_)"


def _alternative(hint: Any) -> str:
    choices = _choices(hint) if get_origin(hint) is Literal else []
    return show(choices[0]) if len(choices) == 1 else describe(hint)


def kinds(hint: Any) -> tuple[type, ...]:
    """Return the classes, other than plain data, whose objects an annotation accepts."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return (object,)
    if origin is Annotated:
        return kinds(parts[0])
    if origin in (Union, types.UnionType):
        return tuple(kind for part in parts for kind in kinds(part))
    kind = origin or hint
    plain = (int, float, str, bool, bytes, dict, list, tuple, set, type(None))
    return (kind,) if inspect.isclass(kind) and not issubclass(kind, plain) else ()


def _plural(text: str) -> str:
    words = {"text": "texts", "an integer": "integers", "a number": "numbers", "one of": "any of"}
    for one, many in words.items():
        if text.startswith(one):
            return many + text[len(one) :]
    return text


def _bounds(extra: Any) -> str:
    metadata = getattr(extra, "metadata", [extra])
    found = []
    for item in metadata:
        for kind, (sign, field) in _BOUNDS.items():
            if isinstance(item, kind):
                found.append(f"{sign} {show(getattr(item, field))}")
    return " and ".join(found)


def show(value: Any) -> str:
    """Return a value as one would type it on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(show(item) for item in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
