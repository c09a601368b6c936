"""The candidates of a search: modes with their options and regularisers, as a config names them."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mmx.json_object import Json
from mmx.transfer.base import NO_REGULARIZER, Choices, Transfer
from mmx.transfer.regularizers import Regularizer
from mmx.variants import find_variants

MODES: dict[str, type[Transfer]] = find_variants(
    "mmx.transfer", Transfer, skip=("auto", "candidates")
)
REGULARIZERS: dict[str, type[Regularizer]] = find_variants("mmx.transfer.regularizers", Regularizer)

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
    def takes_nothing(self) -> bool:
        """Whether it takes nothing from a source."""
        return MODES[self.mode](**dict(self.options)).needs == "nothing"

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


class Search(ABC):
    """What ``stages/selection`` asks of a transfer that searches: its candidates and its budget.

    Attributes:
        eta: One of this many candidates survives a rung.
        budget_seconds: Seconds of all trials together; None where the budget is one of steps.
    """

    eta: int
    budget_seconds: float | None

    @abstractmethod
    def list_candidates(self) -> list[SearchCandidate]:
        """Return what the search chooses from; of equal candidates the first is tried first."""

    @abstractmethod
    def find_budget_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """Return the optimiser steps of all trials together; not called with a budget of seconds.

        Args:
            steps_per_epoch: Of the target.
            epochs: Of the run's own training.
        """


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
