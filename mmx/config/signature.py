"""Checks of a node's values against the signature of its class: names, types and ranges."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import typing
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, get_args, get_origin

import pydantic

from mmx.config.annotations import (
    describe_hint,
    find_example,
    is_union,
    list_choices,
    shorten_hint,
)
from mmx.config.bracketed import read_bracketed
from mmx.config.nodes import ConfigNode
from mmx.errors import Problem, closest
from mmx.quoting import format_value, quote_for_shell, quote_value, type_override
from mmx.renamed_options import find_key

MISSING = "???"
_SWITCHES = {
    **dict.fromkeys(("yes", "on", "1"), "true"),
    **dict.fromkeys(("no", "off", "0"), "false"),
}


def list_options(
    target: Callable[..., Any], supplied: Collection[str] = ()
) -> dict[str, inspect.Parameter]:
    """Return the keyword parameters that a config may set, by name.

    Args:
        target: A class or function.
        supplied: Keyword parameters that mmx passes itself, closed to configs.
    """
    return {
        name: parameter
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in supplied
    }


def resolve_hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the resolved annotations of a class's constructor or of a function."""
    if dataclasses.is_dataclass(target):  # resolves inherited fields in their own modules
        return typing.get_type_hints(target, include_extras=True)
    function: Any = target
    if inspect.isclass(target):
        function = target.__init__
    return typing.get_type_hints(function, include_extras=True)


def check_values(
    target: Callable[..., Any],
    values: ConfigNode,
    path: str,
    supplied: Collection[str] = (),
    also: Sequence[str] = (),
) -> tuple[ConfigNode, list[Problem]]:
    """Return the values converted to their annotated types, and every problem found.

    Args:
        target: A class or function.
        values: Keyword values for it.
        path: Where they stand in the config, for messages.
        supplied: Keyword parameters that mmx passes itself, closed to configs.
        also: Keys of the same place that other code reads; messages name them too.
    """
    allowed, hints = list_options(target, supplied), resolve_hints(target)
    problems: list[Problem] = []
    converted: ConfigNode = {}
    for name, value in values.items():
        where = f"{path}.{name}" if path else name
        hint = hints.get(name, Any)
        if name not in allowed:
            by_position = (
                None if name in supplied else _positional_problem(target, where, name, value)
            )
            problems.append(
                by_position
                or _unknown_key_problem(where, str(name), value, path, [*allowed, *also])
            )
        elif isinstance(value, str) and value == MISSING:
            problems.append(_missing_problem(where, hint))
        else:
            try:
                converted[name] = _validate(_find_adapter(target, name), value)
            except (pydantic.ValidationError, TypeError):
                problems.append(_misfit_problem(where, value, hint, allowed[name].default))
    for name, parameter in allowed.items():
        if parameter.default is parameter.empty and name not in values:
            problems.append(
                _missing_problem(f"{path}.{name}" if path else name, hints.get(name, Any))
            )
    return converted, problems


@functools.lru_cache(maxsize=4096)
def _find_adapter(target: Callable[..., Any], name: str) -> pydantic.TypeAdapter[Any]:
    """Return the validator of an option; it takes longer to make than to use.

    The key is the target and not the annotation: ``int | float`` equals ``float | int``, and the
    two convert differently.
    """
    return _make_adapter(resolve_hints(target).get(name, Any))


def _make_adapter(hint: Any) -> pydantic.TypeAdapter[Any]:
    config = pydantic.ConfigDict(
        arbitrary_types_allowed=True,
        allow_inf_nan=False,
        coerce_numbers_to_str=True,  # 3 names a class, a column or a label as well as "3" does
    )
    return pydantic.TypeAdapter(hint, config=config)


def _convert(hint: Any, value: Any) -> Any:
    """Return the value converted to an annotation; see :func:`_validate`."""
    return _validate(_make_adapter(hint), value)


def _validate(adapter: pydantic.TypeAdapter[Any], value: Any) -> Any:
    """Return the value converted to its annotation; bool, NaN and infinity are no numbers."""
    converted = adapter.validate_python(value)
    # pydantic turns true into 1 and "yes" into true; both would hide a mistake.
    if isinstance(value, bool) is not isinstance(converted, bool):
        raise TypeError(value)
    return converted


def _positional_problem(
    target: Callable[..., Any], where: str, name: str, value: Any
) -> Problem | None:
    """Return the problem of a parameter that is not keyword-only, which configs do not set."""
    parameter = inspect.signature(target).parameters.get(name)
    if parameter is None or parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
        return None
    return Problem(
        f"{where}={format_value(value)}",
        f"{target.__qualname__} takes {name} by position too: a config sets only what "
        "stands after a * in the signature",
    )


def _unknown_key_problem(
    where: str, name: str, value: Any, path: str, allowed: list[str]
) -> Problem:
    if renamed := find_key(where, format_value(value)):
        return Problem(f"{where}={format_value(value)}", renamed.why, type_this=renamed.advice)
    near = closest(name, allowed)
    prefix = f"{path}." if path else ""
    return Problem(
        f"{where}={format_value(value)}",
        "no code reads this key",
        accepted=", ".join(f"{prefix}{key}" for key in allowed) or "no keys",
        closest=near and prefix + near,
        type_this=near and type_override(prefix + near, value),
    )


def _missing_problem(where: str, hint: Any) -> Problem:
    word = shorten_hint(hint)
    example = f"'{where}={word}'" if word.startswith("{") else f"{where}=<{word}>"
    if (given := find_example(hint)) is not None:
        example = quote_for_shell(f"{where}={given}")
    return Problem(where, "needs a value", accepted=describe_hint(hint), type_this=example)


def _misfit_problem(where: str, value: Any, hint: Any, default: Any) -> Problem:
    """Return the problem of a value that its annotation does not accept."""
    reason = f"expected {describe_hint(hint)}"
    if isinstance(value, float) and math.isinf(value) and "a number" in reason:
        reason += ", finite"
    near, typed = (
        _advise_one_way(where, value, hint)
        or _advise_switch_or_pair(where, value, hint)
        or _advise_list(where, value, hint)
        or _advise_nearest(where, value, hint, default)
    )
    return Problem(f"{where}={format_value(value)}", reason, closest=near, type_this=typed)


_Advice = tuple[str | None, str | None]
"""The closest match, and what to type."""


def _advise_one_way(where: str, value: Any, hint: Any) -> _Advice | None:
    """Advise one of the choices where ``true`` was given for an option with ``none`` for off."""
    choices = [str(choice) for choice in list_choices(hint)]
    if value is not True or "none" not in choices:
        return None
    ways = [f"{where}={choice}" for choice in choices if choice != "none"]
    others = f"   (or {', '.join(ways[1:])})" if len(ways) > 1 else ""
    return None, ways[0] + others


def _advise_switch_or_pair(where: str, value: Any, hint: Any) -> _Advice | None:
    """Advise true or false for a word such as ``yes``, and braces for ``key: value``."""
    parts = (hint, *get_args(hint))
    if bool in parts and (switch := _SWITCHES.get(str(value).lower())):
        return None, quote_for_shell(f"{where}={switch}")
    if isinstance(value, str) and any(dict in (part, get_origin(part)) for part in parts):
        if isinstance(meant := read_bracketed(value), dict):
            return None, type_override(where, meant)
        key, colon, item = value.partition(":")
        if colon:
            return None, quote_for_shell(f"{where}={{{key.strip()}: {item.strip()}}}")
    return None


def _advise_list(where: str, value: Any, hint: Any) -> _Advice | None:
    """Advise the accepted list that is most like the value, if there is one."""
    mended = _mend_list(hint, value)
    if mended is None:
        return None
    choices = [str(choice) for choice in list_choices(hint)]
    near = [str(new) for new, old in mended if new != old and str(new) in choices]
    return ", ".join(near) or None, type_override(where, [new for new, _ in mended])


def _advise_nearest(where: str, value: Any, hint: Any, default: Any) -> _Advice:
    """Advise the choice most like a value, else the default."""
    choices = [str(choice) for choice in list_choices(hint)]
    near = closest(str(value), choices)
    plain = isinstance(default, (type(None), bool, int, float, str, list, tuple))
    shown = near or (quote_value(default) if plain else None)
    if shown == "null" and choices:
        shown = choices[0]
    return near, shown and quote_for_shell(f"{where}={shown}")


def _mend_list(hint: Any, value: Any) -> list[tuple[Any, Any]] | None:
    """Return the items of an acceptable list, each paired with the item that was given.

    A single value is taken for a list of one where only a list is accepted. None where no list
    is accepted, or none is similar.
    """
    if is_union(hint):
        return _mend_one_of(get_args(hint), value)
    inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(inner) not in (list, tuple) or isinstance(value, dict):
        return None
    item = next(iter(get_args(inner)), Any)
    given = list(value) if isinstance(value, (list, tuple)) else [value]
    pairs = [(_mend_item(item, each), each) for each in given]
    mended = list({repr(new): (new, each) for new, each in pairs}.values())  # without repeats
    try:
        _convert(hint, [new for new, _ in mended])
    except (pydantic.ValidationError, TypeError):
        return None
    return mended


def _mend_one_of(hints: tuple[Any, ...], value: Any) -> list[tuple[Any, Any]] | None:
    """Return the mended list of the first of several annotations that accepts one."""
    parts = [part for part in hints if part is not type(None)]
    if len(parts) > 1 and not isinstance(value, (list, tuple)):
        return None
    found = (_mend_list(part, value) for part in parts)
    return next((mended for mended in found if mended is not None), None)


def _mend_item(hint: Any, value: Any) -> Any:
    """Return the accepted value nearest to a list's item: a choice, or the bound of a number."""
    try:
        _convert(hint, value)
    except (pydantic.ValidationError, TypeError):
        if near := closest(str(value), [str(choice) for choice in list_choices(hint)]):
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
