"""What a search may choose from: modes with their options, as a config names them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from mmx.transfer.auto import MODES, REGULARIZERS, Auto
from mmx.transfer.base import NO_REGULARIZER

Node = dict[str, Any]
EVERY_MODE = ("map", "class_map", "min_copied", "fusion")
"""Options of auto that go to every mode that has them."""


@dataclass(frozen=True)
class SearchCandidate:
    """One choice.

    Attributes:
        mode: The transfer's name.
        regularizer: Its name; ``none`` for none.
        options: In which it differs from the mode's defaults, of those that candidates vary in.
        common: The same of those that auto states for all.
        variation: How manieth it is of its mode and frozen depth, from 0.
    """

    mode: str
    regularizer: str
    options: tuple[tuple[str, Any], ...]
    common: tuple[tuple[str, Any], ...] = ()
    variation: int = 0

    @property
    def name(self) -> str:
        """Return in which it differs from others, as one would type it."""
        found = [f"transfer={self.mode}"]
        found += [f"transfer.{key}={_shown(value)}" for key, value in self.options]
        if self.regularizer != NO_REGULARIZER:
            found.append(f"regularizer={self.regularizer}")
        return " ".join(found)

    @property
    def takes_weights(self) -> bool:
        """Whether it starts from what the source has learned."""
        return MODES[self.mode](**dict(self.options)).needs == "weights"

    @property
    def depth(self) -> int:
        """How many depths of its encoders stay as the source's; 0: it stands for all or none."""
        return int(dict(self.options).get("freeze_depth", 0))

    def config(self) -> dict[str, Node]:
        """Return its nodes ``transfer`` and ``regularizer``, every option stated."""
        transfer = {**node(MODES[self.mode]), **dict((*self.options, *self.common))}
        none = self.regularizer == NO_REGULARIZER
        return {
            "transfer": transfer,
            "regularizer": {} if none else node(REGULARIZERS[self.regularizer]),
        }


def candidates(auto: Auto) -> list[SearchCandidate]:
    """Return all candidates: modes in the order given, the first values of every list first."""
    found: dict[str, SearchCandidate] = {}
    counts: dict[tuple[str, int], int] = {}
    for mode, regularizer, options in _combinations(auto):
        made = SearchCandidate(mode, regularizer, options, _common(auto, mode))
        group = (mode, made.depth)
        if made.name not in found:
            counts[group] = counts.get(group, -1) + 1
            found[made.name] = replace(made, variation=counts[group])
    return list(found.values())


def _combinations(auto: Auto) -> Iterator[tuple[str, str, tuple[tuple[str, Any], ...]]]:
    """Yield mode, regulariser and the options that differ from the mode's defaults."""
    for mode in auto.modes:
        kind = MODES[mode]
        usual = node(kind)
        for name, options in kind.search_space(auto.choices):
            if name == NO_REGULARIZER or kind(**options).holds(REGULARIZERS[name]):
                changed = {key: value for key, value in options.items() if usual[key] != value}
                yield mode, name, tuple(changed.items())


def _common(auto: Auto, mode: str) -> tuple[tuple[str, Any], ...]:
    """Return what auto says for all modes, as far as this one has the option."""
    usual = node(MODES[mode])
    said = {
        "map": dict(auto.modality_map) or None,
        "class_map": dict(auto.class_map) or None,
        "min_copied": auto.min_copied,
        "fusion": auto.fusion,
    }
    return tuple((k, said[k]) for k in EVERY_MODE if k in usual and usual[k] != said[k])


def node(kind: type) -> Node:
    """Return the config node of a variant: its class, and each option with its default."""
    options = {
        name: list(option.default) if isinstance(option.default, tuple) else option.default
        for name, option in inspect.signature(kind).parameters.items()
    }
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **options}


def _shown(value: Any) -> str:
    """Return a value as one would type it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
