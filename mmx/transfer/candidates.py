"""The candidates of a search: modes with their options and regularisers, as a config names them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mmx.json_object import Json
from mmx.transfer.base import Transfer
from mmx.transfer.regularizers import Regularizer
from mmx.transfer.search_contract import NO_REGULARIZER, Choices, Options, SearchCandidate
from mmx.variants import find_variants

MODES: dict[str, type[Transfer]] = find_variants(
    "mmx.transfer", Transfer, skip=("auto", "candidates")
)
REGULARIZERS: dict[str, type[Regularizer]] = find_variants("mmx.transfer.regularizers", Regularizer)


def combine_candidates(
    modes: Sequence[str], choices: Choices, common: Json
) -> list[SearchCandidate]:
    """Return all candidates: modes in the given order, the first values of every list first.

    Args:
        modes: Names of transfer modes.
        choices: What else they may choose from.
        common: Options for every mode that has them.
    """
    found: dict[str, SearchCandidate] = {}
    for mode, regularizer, options in _combine(modes, choices):
        made = SearchCandidate(mode, regularizer, options, _pick_options(mode, common))
        if made.name not in found:
            alike = [e for e in found.values() if (e.mode, e.depth) == (mode, made.depth)]
            found[made.name] = replace(made, variation=len(alike))
    return list(found.values())


def _combine(modes: Sequence[str], choices: Choices) -> Iterator[tuple[str, str, Options]]:
    """Yield mode, regulariser and the options that differ from the mode's defaults."""
    for mode in modes:
        kind = MODES[mode]
        defaults = make_node(kind)
        for regularizer, options in kind.search_space(choices):
            # An instance is asked, since what a mode holds may depend on its options.
            if regularizer == NO_REGULARIZER or kind(**options).holds(REGULARIZERS[regularizer]):
                changed = {key: value for key, value in options.items() if defaults[key] != value}
                yield mode, regularizer, tuple(changed.items())


def _pick_options(mode: str, common: Json) -> Options:
    """Return the common options that this mode has and that differ from its defaults."""
    defaults = make_node(MODES[mode])
    return tuple((key, value) for key, value in common.items() if defaults.get(key, value) != value)


def make_config(candidate: SearchCandidate) -> dict[str, Json]:
    """Return a candidate's nodes ``transfer`` and ``regularizer``, every option stated."""
    stated = dict((*candidate.options, *candidate.common))
    transfer = {**make_node(MODES[candidate.mode]), **stated}
    none = candidate.regularizer == NO_REGULARIZER
    regularizer = {} if none else make_node(REGULARIZERS[candidate.regularizer])
    return {"transfer": transfer, "regularizer": regularizer}


def takes_nothing(candidate: SearchCandidate) -> bool:
    """Return whether a candidate takes nothing from a source."""
    return _make_mode(candidate).needs == "nothing"


def takes_weights(candidate: SearchCandidate) -> bool:
    """Return whether a candidate starts from what the source has learned."""
    return _make_mode(candidate).needs == "weights"


def _make_mode(candidate: SearchCandidate) -> Transfer:
    return MODES[candidate.mode](**dict(candidate.options))


def make_node(kind: type) -> Json:
    """Return the config node of a variant: its class, and each option with its default."""
    options = {
        name: list(option.default) if isinstance(option.default, tuple) else option.default
        for name, option in inspect.signature(kind).parameters.items()
    }
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **options}
