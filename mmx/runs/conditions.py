"""Conditions on runs, as ``mmx list`` and ``mmx compare`` take them: ``accuracy>0.7``.

    target=stl10          the option or value; several: fusion=concat,gated; a pattern: run=*-07*
    seed!=1               runs without a value do not have it, so they are kept
    accuracy>0.7          a test metric; val.accuracy on validation
    optimizer.lr<=0.001   any key of the config, and any number of summary.json

Keys are those of an index entry first (``run status source target transfer fusion seed gain
seconds``), then test metrics, then settings and the numbers of the summary by dotted key.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from mmx.errors import UsageError, closest
from mmx.runs.index_cache import CellValue

MOST_VALUES = 8
"""Values of a key that are named where none is as typed."""
CLOSE = 0.75
"""How alike a value must be to be taken for what was meant: finished is not failed."""
SIGNS = ("!=", ">=", "<=", "=", ">", "<")
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
_TEXT = re.compile(r"\s*(?P<key>[\w./@-]+?)\s*(?P<sign>!=|>=|<=|=|>|<)\s*(?P<value>.*?)\s*", re.S)


@dataclass(frozen=True)
class Condition:
    """One condition on a run.

    Attributes:
        key: What is compared.
        sign: One of :data:`SIGNS`.
        value: With what, as it was typed.

    Example:
        >>> parse_condition("accuracy>=0.7").holds(0.75)
        True
        >>> parse_condition("fusion=concat,gate*").holds("gated")
        True
        >>> parse_condition("seed!=1").holds(None)
        True
    """

    key: str
    sign: str
    value: str

    def holds(self, found: CellValue) -> bool:
        """Return whether the value of a run fulfils it; no value is neither equal nor larger."""
        if self.sign in ("=", "!="):
            return self._is_one_of(found) == (self.sign == "=")
        if found is None or isinstance(found, bool):
            return False
        if isinstance(found, str):
            number, wanted = read_number(found), read_number(self.value)
            if number is not None and wanted is not None:  # nan and inf are kept as texts
                return _ORDER[self.sign](number, wanted)
            return _ORDER[self.sign](found, self.value)
        return _ORDER[self.sign](found, self._as_number())

    def _is_one_of(self, found: CellValue) -> bool:
        return any(_equals(found, each.strip()) for each in [self.value, *self.value.split(",")])

    def _as_number(self) -> float:
        number = read_number(self.value)
        if number is None:
            raise UsageError(
                f"{self.key}{self.sign}{self.value}: {self.key} is a number, and "
                f"{self.value!r} is none",
                tip=f"{self.key}{self.sign}0.5",
            )
        return number


def looks_like_condition(text: str) -> bool:
    """Return whether a word of a command line has a key, a sign and a value."""
    return _TEXT.fullmatch(text) is not None


def parse_condition(text: str) -> Condition:
    """Return the condition that a text states.

    Raises:
        UsageError: It has no sign.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise UsageError(
            f"{text!r} is neither a folder nor a condition: a condition is a key, one of "
            f"{' '.join(SIGNS)} and a value",
            tip="mmx list target=stl10 'accuracy>0.7'",
        )
    return Condition(found["key"].replace("/", "."), found["sign"], found["value"])


def read_number(text: str) -> float | None:
    """Return the number that a text is, or None."""
    try:
        return float(text)
    except ValueError:
        return None


def _equals(found: CellValue, wanted: str) -> bool:
    """Return whether a value is what was typed, where ``null`` stands for none."""
    if found is None or isinstance(found, bool):
        return wanted.lower() == {None: "null", True: "true", False: "false"}[found]
    if isinstance(found, str):
        return found == wanted or fnmatchcase(found, wanted)
    return read_number(wanted) == found


def keys_of(conditions: Sequence[Condition]) -> list[str]:
    """Return the keys of conditions, each once."""
    return list(dict.fromkeys(each.key for each in conditions))


def find_unmet(
    conditions: Sequence[Condition], values: Mapping[str, Sequence[CellValue]]
) -> str | None:
    """Return the first condition on an exact value that no run has, and what there is instead.

    Args:
        conditions: What runs must fulfil.
        values: Key to its value in each run.

    Returns:
        ``target=digit_av; did you mean digits_av?``; None where each is fulfilled by some run.
    """
    for each in conditions:
        found = values[each.key]
        if each.sign != "=" or any(map(each.holds, found)):
            continue
        known = sorted({str(value) for value in found if value is not None})
        typed = f"{each.key}={each.value}"
        if near := closest(each.value, known, cutoff=CLOSE):
            return f"{typed}; did you mean {near}?"
        if len(known) <= MOST_VALUES:
            return f"{typed}; there is {', '.join(known)}" if known else typed
        return typed
    return None
