"""What a search is asked: what it may choose from, its candidates, and its budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

NO_REGULARIZER = "none"

Options = tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Choices:
    """What a search may choose from, apart from the transfer modes.

    Attributes:
        regularizers: Names of regularisers; ``none`` for none.
        heads: Names of heads.
        depths: How many depths of each encoder to freeze.
        rates: Learning rates of copied parameters, as multiples of the optimiser's.
    """

    regularizers: tuple[str, ...]
    heads: tuple[str, ...]
    depths: tuple[int, ...]
    rates: tuple[float, ...]


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
    def depth(self) -> int:
        """How many depths of its encoders stay as the source's; 0 where all or none do."""
        depth = dict(self.options).get("freeze_depth")
        return depth if isinstance(depth, int) else 0


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


def _format_value(value: object) -> str:
    """Return a value as one would type it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
