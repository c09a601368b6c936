"""The candidates of a search: modes with their options and regularisers, as a config names them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mmx.json_object import Json
from mmx.transfer.auto import MODES, REGULARIZERS, Auto
from mmx.transfer.base import NO_REGULARIZER

Options = tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class SearchCandidate:
    """One setting that a search may choose.

    Attributes:
        mode: The transfer's name.
        regularizer: Its name; ``none`` for none.
        options: Those in which candidates vary, where they differ from the mode's defaults.
        common: Those that auto states for all, where they differ from the mode's defaults.
        variation: Its place, from 0, among the candidates of its mode and frozen depth.
    """

    mode: str
    regularizer: str
    options: Options
    common: Options = ()
    variation: int = 0

    @property
    def name(self) -> str:
        """In what it differs from others, as one would type it."""
        words = [f"transfer={self.mode}"]
        words += [f"transfer.{key}={_format_value(value)}" for key, value in self.options]
        if self.regularizer != NO_REGULARIZER:
            words.append(f"regularizer={self.regularizer}")
        return " ".join(words)

    @property
    def takes_weights(self) -> bool:
        """Whether it starts from what the source has learned."""
        return MODES[self.mode](**dict(self.options)).needs == "weights"

    @property
    def depth(self) -> int:
        """How many depths of its encoders stay as the source's; 0 where all or none do."""
        depth = dict(self.options).get("freeze_depth")
        return depth if isinstance(depth, int) else 0

    def config(self) -> dict[str, Json]:
        """Return its nodes ``transfer`` and ``regularizer``, every option stated."""
        transfer = {**make_node(MODES[self.mode]), **dict((*self.options, *self.common))}
        none = self.regularizer == NO_REGULARIZER
        regularizer = {} if none else make_node(REGULARIZERS[self.regularizer])
        return {"transfer": transfer, "regularizer": regularizer}


def list_candidates(auto: Auto) -> list[SearchCandidate]:
    """Return all candidates: modes in the given order, the first values of every list first."""
    found: dict[str, SearchCandidate] = {}
    for mode, regularizer, options in _combine(auto):
        made = SearchCandidate(mode, regularizer, options, _find_common_options(auto, mode))
        if made.name not in found:
            alike = [e for e in found.values() if (e.mode, e.depth) == (mode, made.depth)]
            found[made.name] = replace(made, variation=len(alike))
    return list(found.values())


def _combine(auto: Auto) -> Iterator[tuple[str, str, Options]]:
    """Yield mode, regulariser and the options that differ from the mode's defaults."""
    for mode in auto.modes:
        kind = MODES[mode]
        defaults = make_node(kind)
        for regularizer, options in kind.search_space(auto.choices):
            # An instance is asked, since what a mode holds may depend on its options.
            if regularizer == NO_REGULARIZER or kind(**options).holds(REGULARIZERS[regularizer]):
                changed = {key: value for key, value in options.items() if defaults[key] != value}
                yield mode, regularizer, tuple(changed.items())


def _find_common_options(auto: Auto, mode: str) -> Options:
    """Return what auto states for all modes, as far as this one has the option."""
    stated: Json = {
        "map": dict(auto.modality_map) or None,
        "class_map": dict(auto.class_map) or None,
        "min_copied": auto.min_copied,
        "fusion": auto.fusion,
    }
    defaults = make_node(MODES[mode])
    return tuple((key, value) for key, value in stated.items() if defaults.get(key, value) != value)


def make_node(kind: type) -> Json:
    """Return the config node of a variant: its class, and each option with its default."""
    options = {
        name: list(option.default) if isinstance(option.default, tuple) else option.default
        for name, option in inspect.signature(kind).parameters.items()
    }
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **options}


def _format_value(value: object) -> str:
    """Return a value as one would type it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
