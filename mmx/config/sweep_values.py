"""The values that an override gives a sweep, and overrides that give none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from mmx.config.locate import find_options
from mmx.errors import Problem
from mmx.quoting import quote_for_shell

JOBS = 10_000
"""Most jobs of one sweep."""
WIDE = 10
"""Ratio of an interval's ends from which its geometric mean is advised as middle."""


def refuse_too_many_values(parsed: Sequence[Override]) -> Iterator[Problem]:
    """Yield ranges that never end, or give more values than a sweep may have."""
    for override in parsed:
        given = override.value()
        if isinstance(given, RangeSweep):
            start, stop, step = (float(each or 0) for each in (given.start, given.stop, given.step))
            count = (stop - start) / step if step else math.inf
            if not count <= JOBS:  # also true for NaN
                reason = f"gives more than {JOBS:,} values"
                yield Problem(str(override.input_line), reason)


def gives_values(override: Override) -> bool:
    """Return whether an override gives one or several values to run in turn."""
    given = override.value()
    if isinstance(given, RangeSweep):  # as a list, a range of billions would fill the memory
        return next(iter(given.range()), None) is not None
    return override.is_discrete_sweep() and bool(list(override.sweep_string_iterator()))


def refuse_missing_values(parsed: Sequence[Override]) -> Iterator[Problem]:
    """Yield the overrides that ask for a sweep without giving a list of values."""
    for override in parsed:
        key, given = override.key_or_group, str(override.input_line)
        interval = override.value()
        if isinstance(interval, IntervalSweep):
            values = ",".join(f"{value:g}" for value in _pick_three(interval))
            reason = "an interval is for a search; a sweep runs a list of values"
            yield Problem(given, reason, type_this=f"-m {key}={values}")
        elif override.is_sweep_override() and not gives_values(override):
            known = find_options(key)
            advice = f"-m {quote_for_shell(f'{key}=glob(*)')}" if known else f"leave out {given}"
            reason = "matches no option" if known else f"{key} is no group with options to match"
            yield Problem(given, reason, accepted=", ".join(known) or None, type_this=advice)


def _pick_three(interval: IntervalSweep) -> tuple[float, float, float]:
    """Return both ends of an interval and its middle: the geometric mean where it is wide."""
    low, high = float(interval.start or 0), float(interval.end or 0)
    whole = low.is_integer() and high.is_integer()
    if whole or low <= 0 or high < WIDE * low:
        middle = (low + high) / 2
        return low, float(round(middle)) if whole and high - low > 1 else middle, high
    return low, float(f"{math.sqrt(low * high):.3g}"), high


def refuse_sweep(parsed: Sequence[Override], texts: Sequence[str]) -> list[Problem]:
    """Return the overrides that give several values, as problems of a line without ``-m``."""
    several = [
        Problem(
            text,
            "gives several values, and this is one run",
            type_this=f"-m {quote_for_shell(text)}",
        )
        for override, text in zip(parsed, texts, strict=True)
        if gives_values(override)
    ]
    return [*refuse_missing_values(parsed), *several]
