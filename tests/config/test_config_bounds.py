"""Every number that a config can set has a least and a largest value."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import annotated_types
import pytest
import yaml

from mmx.config import signature
from mmx.config.annotations import list_classes
from mmx.config.build import BUILTIN_PACKAGES
from mmx.config.locate import builtin_directory
from mmx.experiment.settings import Settings
from mmx.training.trainer import Trainer


def targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        node = list(node.values())
    for value in node if isinstance(node, list) else []:
        yield from targets(value)


@functools.cache
def classes() -> list[type]:
    """Return the classes that mmx's own configs name, and those that these take as values."""
    names = {
        name
        for path in builtin_directory().rglob("*.yaml")
        for name in targets(yaml.safe_load(path.read_text(encoding="utf-8")))
    }
    found: dict[type, None] = {Settings: None, Trainer: None}
    waiting = [
        vars(importlib.import_module(n.rpartition(".")[0]))[n.rpartition(".")[2]] for n in names
    ]
    while waiting:
        kind = waiting.pop()
        if kind in found or not kind.__module__.startswith(BUILTIN_PACKAGES):
            continue
        found[kind] = None
        hints = signature.resolve_hints(kind)
        for name in signature.list_options(kind):
            waiting += [each for each in list_classes(hints[name]) if inspect.isclass(each)]
    return sorted(found, key=lambda kind: (kind.__module__, kind.__qualname__))


def numbers(hint: Any) -> Iterator[tuple[bool, bool]]:
    """Yield of each number in an annotation whether it has a least and a largest value."""
    if get_origin(hint) is Annotated:
        base, *extra = get_args(hint)
        marks = [mark for each in extra for mark in getattr(each, "metadata", [each])]
        if base in (int, float):
            yield (
                any(isinstance(mark, (annotated_types.Ge, annotated_types.Gt)) for mark in marks),
                any(isinstance(mark, (annotated_types.Le, annotated_types.Lt)) for mark in marks),
            )
            return
        hint = base
    elif hint in (int, float):
        yield False, False
    for part in get_args(hint):
        yield from numbers(part)


def test_there_are_many():
    assert len(classes()) > 80


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_number_has_both_bounds(kind):
    hints = signature.resolve_hints(kind)
    without = [
        name
        for name in signature.list_options(kind)
        for bounds in numbers(hints[name])
        if bounds != (True, True) and name != "outputs"  # which the assembly supplies
    ]
    assert without == []
