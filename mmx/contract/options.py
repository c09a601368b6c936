"""Checks of the options of a class: a config can set them, and bad values are refused."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from mmx.contract.base import Broken, Part, Subject
from mmx.contract.faults import describe_fault

BAD: dict[type, tuple[Any, ...]] = {int: (-1, 0), float: (-1.0, 0.0)}
"""Values that most numeric options do not accept."""
Try = Callable[[Part], None]
"""``attempt(part)`` makes and calls a part once."""


def has_sound_options(subject: Subject) -> str:
    """Check that options are keyword-only, annotated, and refused where they are bad."""
    part = subject.part
    options = _of_a_config(part.kind, subject.positional, subject.supplied)
    hints = _hints(part.kind)
    for option in options:
        if option.name not in hints:
            raise Broken(
                f"expected an annotation of each option, since a config is checked against it; "
                f"`{option.name}` has none"
            )
        if option.default is not option.empty and not _is_factory(option.default):
            wrong = part.refuse(part.kind, {option.name: option.default})
            if wrong:
                raise Broken(f"expected defaults of the annotated types and ranges; {wrong[0]}")
    tried = [_try(part, option.name, hints[option.name], subject.try_part) for option in options]
    names = ", ".join(option.name for option in options) or "none"
    return f"{names}: annotated and keyword-only; {sum(tried)} bad values tried"


def _is_factory(default: Any) -> bool:
    return repr(default) == "<factory>"


def _of_a_config(kind: type, given: int, supplied: tuple[str, ...]) -> list[inspect.Parameter]:
    """Return the parameters that a config may set."""
    every = list(inspect.signature(kind).parameters.values())
    by_position = [
        each for each in every if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    for each in by_position[given:]:
        raise Broken(
            "expected options after a * in the signature, since a config sets no others; "
            f"`{each.name}` is taken by position too"
        )
    return [each for each in every if each.kind is each.KEYWORD_ONLY and each.name not in supplied]


def _hints(kind: type) -> dict[str, Any]:
    function: Any = kind if dataclasses.is_dataclass(kind) else kind.__init__  # type: ignore[misc]
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise Broken(
            f"expected annotations that can be read where the class is defined; {error}"
        ) from error


def _try(part: Part, name: str, hint: Any, attempt: Try) -> int:
    """Try bad values of one option, with all others unchanged; return how many were tried."""
    tried = 0
    for value in _bad_values(hint):
        if part.refuse(part.kind, {**part.options, name: value}):
            tried += 1
            continue
        try:
            attempt(dataclasses.replace(part, options={**part.options, name: value}))
        except ValueError as error:
            if not _of_the_constructor(error, part.kind):
                raise _ends_badly(name, value, describe_fault(error)) from error
        except Broken as error:
            raise _ends_badly(name, value, str(error)) from error
        except Exception as error:
            raise _ends_badly(name, value, describe_fault(error)) from error
        tried += 1
    return tried


def _ends_badly(name: str, value: Any, how: str) -> Broken:
    return Broken(
        "expected bad options to be refused, by Annotated[…, Field(ge=…)] or a ValueError of the "
        f"constructor; {name}={value} is accepted and ends in {how}"
    )


def _of_the_constructor(error: BaseException, kind: type) -> bool:
    """Return whether an exception was raised in the constructor, by looking at its frames."""
    trace, names = error.__traceback__, set()
    while trace is not None:
        code = trace.tb_frame.f_code
        if isinstance(trace.tb_frame.f_locals.get("self"), kind):
            names.add(code.co_name)
        trace = trace.tb_next
    return bool(names & {"__init__", "__post_init__"})


def _bad_values(hint: Any) -> Iterator[Any]:
    """Yield bad values for an option that takes numbers."""
    kinds = list(_plain(hint))
    for kind in (int, float):
        if kind in kinds:
            yield from BAD[kind]
            return


def _plain(hint: Any) -> Iterator[Any]:
    origin = get_origin(hint)
    if origin is Annotated:
        yield from _plain(get_args(hint)[0])
    elif origin in (Union, types.UnionType):
        for each in get_args(hint):
            yield from _plain(each)
    else:
        yield hint
