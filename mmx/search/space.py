"""The space of a search: which settings are tried, and between which values.

optimizer.lr=log(1e-5,1e-2)    a number, spread evenly over its magnitudes
fusion.width=64..512           a whole number, since both ends are
trainer.modality_dropout=0..0.5
fusion=[concat,gated]          one of several options, as is fusion=concat,gated
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmx.errors import ConfigError, Problem

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
RANGE = re.compile(rf"(?:(log)\(\s*)?({NUMBER})\s*(,|\.\.)\s*({NUMBER})\s*(\))?")
EXAMPLES = "key=log(1e-5,1e-2), key=64..512, key=0..0.5, group=[a,b]"
Value = str | int | float


@dataclass(frozen=True)
class Dimension:
    """A setting that a search varies.

    Attributes:
        key: A key of the config, or a config group.
        text: As it was typed.
        low, high: The ends of a range of numbers, both included; unused where there are choices.
        log: Whether the range is spread over magnitudes.
        whole: Whether its numbers are whole.
        choices: The values to choose from, as overrides say them; empty for a range.
    """

    key: str
    text: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()

    def to_distribution(self) -> BaseDistribution:
        """Return the dimension as Optuna has it."""
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        if self.choices:
            return CategoricalDistribution(self.choices)
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def format_override(self, value: Value) -> str:
        """Return the override that sets a value."""
        return f"{self.key}={value!r}" if isinstance(value, float) else f"{self.key}={value}"


def read_range(text: str) -> Dimension | None:
    """Return the dimension that an override with a range of numbers is; None for any other.

    Args:
        text: An override as typed.

    Raises:
        ConfigError: It is a range, and an empty one or one that cannot be spread over magnitudes.
    """
    key, _, value = text.partition("=")
    found = RANGE.fullmatch(value.strip())
    if found is None:
        if value.strip().startswith("log("):
            raise ConfigError([Problem(text, "is no range of numbers", accepted=EXAMPLES)])
        return None
    log, low_text, between, high_text, closing = found.groups()
    if (log is None) != (closing is None) or (log is None) != (between == ".."):
        if log is None and closing is None:
            return None  # two values with a comma: choices
        raise ConfigError([Problem(text, "is no range of numbers", accepted=EXAMPLES)])
    low, high = float(low_text), float(high_text)
    whole = all(re.fullmatch(r"[+-]?\d+", part) for part in (low_text, high_text))
    _require_range(text, key, low, high, log=log is not None)
    return Dimension(key, text, low, high, log is not None, whole)


def _require_range(text: str, key: str, low: float, high: float, *, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError([Problem(text, "has an end that is not finite", accepted=EXAMPLES)])
    if low >= high:
        swapped = f"log({high:g},{low:g})" if log else f"{high:g}..{low:g}"
        fixed = f"{key}={swapped}" if low > high else f"{key}={low:g}"
        raise ConfigError([Problem(text, "is empty: the lower end comes first", type_this=fixed)])
    if log and low <= 0:
        reason = "is spread over magnitudes, and so begins above 0"
        raise ConfigError([Problem(text, reason, type_this=f"{key}=log({high / 1000:g},{high:g})")])


def read_choices(text: str, key: str, values: Sequence[str]) -> Dimension:
    """Return the dimension of an override with several values.

    Args:
        text: As typed.
        key: What it sets.
        values: As overrides say them.
    """
    return Dimension(key, text, choices=tuple(dict.fromkeys(values)))


def count_points(dimensions: Sequence[Dimension]) -> int | None:
    """Return how many points a space of choices and whole numbers has; None if it is continuous."""
    count = 1
    for each in dimensions:
        if not each.choices and not each.whole:
            return None
        count *= len(each.choices) or int(each.high) - int(each.low) + 1
    return count
