"""Type annotations described in words, and the choices and classes that they accept."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types

from mmx.quoting import format_value, quote_value

_BOUNDS = {
    annotated_types.Ge: ("≥", "ge"),
    annotated_types.Gt: (">", "gt"),
    annotated_types.Le: ("≤", "le"),
    annotated_types.Lt: ("<", "lt"),
}
_PLURALS = {
    "text": "texts",
    "an integer": "integers",
    "a number": "numbers",
    "one of": "any of",
}
_PLAIN = (int, float, str, bool, bytes, dict, list, tuple, set, type(None))


def describe_hint(hint: Any) -> str:
    """Return in words what an annotation accepts."""
    words = _WORDS.get(get_origin(hint) or hint)
    return _describe_class(hint) if words is None else words(get_args(hint))


def shorten_hint(hint: Any) -> str:
    """Return one word for a value of this annotation, the first kind that it accepts."""
    text = describe_hint(hint)
    if text.startswith("a mapping"):
        return "{key: value}"
    return text.split(" ")[-1] if text.startswith(("a ", "an ")) else text.split(" ")[0]


def find_example(hint: Any) -> str | None:
    """Return the example that ``Field(examples=…)`` gives of a value, as one types it."""
    found = [each for part in get_args(hint) for each in getattr(part, "examples", None) or ()]
    return str(found[0]) if found else None


def list_choices(hint: Any) -> list[Any]:
    """Return the values that a ``Literal`` anywhere in an annotation names."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [choice for part in get_args(hint) for choice in list_choices(part)]


def list_classes(hint: Any) -> tuple[type, ...]:
    """Return the classes, other than plain data, whose objects an annotation accepts."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return (object,)
    if origin is Annotated:
        return list_classes(parts[0])
    if is_union(hint):
        return tuple(kind for part in parts for kind in list_classes(part))
    kind = origin or hint
    return (kind,) if inspect.isclass(kind) and not issubclass(kind, _PLAIN) else ()


def find_value_hint(hint: Any) -> Any:
    """Return X of ``dict[str, X]`` in an annotation; None where there is no mapping."""
    if is_union(hint):
        found = [find_value_hint(part) for part in get_args(hint)]
        return next((each for each in found if each is not None), None)
    return get_args(hint)[1] if get_origin(hint) is dict else None


def is_union(hint: Any) -> bool:
    """Return whether an annotation accepts one of several others."""
    return get_origin(hint) in (Union, types.UnionType)


def _describe_bounded(parts: tuple[Any, ...]) -> str:
    bounds = " and ".join(filter(None, (_describe_bounds(extra) for extra in parts[1:])))
    return " ".join(filter(None, [describe_hint(parts[0]), bounds]))


def _describe_bounds(extra: Any) -> str:
    return " and ".join(
        f"{sign} {format_value(getattr(item, field))}"
        for item in getattr(extra, "metadata", [extra])
        for kind, (sign, field) in _BOUNDS.items()
        if isinstance(item, kind)
    )


def _describe_choices(parts: tuple[Any, ...]) -> str:
    return "one of " + ", ".join(map(_format_choice, parts))


def _format_choice(value: Any) -> str:
    """Return a choice as text, in quotes where it is a mark such as a comma."""
    marks = isinstance(value, str) and not any(map(str.isalnum, value))
    return quote_value(value) if marks else format_value(value)


def _describe_union(parts: tuple[Any, ...]) -> str:
    return " or ".join(_describe_alternative(part) for part in parts)


def _describe_alternative(hint: Any) -> str:
    # A Literal with a single value is written as that value: "a number or auto".
    choices = list_choices(hint) if get_origin(hint) is Literal else []
    return format_value(choices[0]) if len(choices) == 1 else describe_hint(hint)


def _describe_list(parts: tuple[Any, ...]) -> str:
    inner = [part for part in parts if part is not Ellipsis]
    return "a list" + (f" of {_pluralize(describe_hint(inner[0]))}" if inner else "")


def _describe_class(hint: Any) -> str:
    name = getattr(hint, "__name__", str(hint))
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name} (a node with _target_)"


def _pluralize(text: str) -> str:
    for one, many in _PLURALS.items():
        if text.startswith(one):
            return many + text[len(one) :]
    return text


def _say(text: str) -> Callable[[tuple[Any, ...]], str]:
    return lambda _: text


_WORDS: dict[Any, Callable[[tuple[Any, ...]], str]] = {
    Annotated: _describe_bounded,
    Literal: _describe_choices,
    Union: _describe_union,
    types.UnionType: _describe_union,
    list: _describe_list,
    tuple: _describe_list,
    dict: _say("a mapping {key: value}"),
    type(None): _say("null"),
    int: _say("an integer"),
    float: _say("a number"),
    str: _say("text"),
    bool: _say("true or false"),
    Any: _say("a value"),
}
"""Annotation or its origin to the description of its arguments; other classes are nodes."""
