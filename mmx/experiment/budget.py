"""``budget=2h``: the time after which a run or a sweep is stopped and saved."""

from __future__ import annotations

import re
import time

from mmx.errors import ConfigError, Problem

UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}
"""Unit to its seconds."""
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)")
MOST_SECONDS = 366 * UNITS["d"]


def read_budget(given: str | float | None) -> float | None:
    """Return the seconds of a budget; None without one.

    Args:
        given: Numbers with units: ``2h``, ``90m``, ``45s``, ``1h30m``, ``1.5h``, ``2d``.

    Raises:
        ConfigError: It is no time, or not one above zero.

    Example:
        >>> read_budget("1h30m")
        5400.0
    """
    if given is None:
        return None
    text = str(given).strip()
    accepted = "a time with its unit: 45s, 90m, 2h, 1h30m, 2d"
    if re.fullmatch(r"\d+(\.\d+)?", text):
        reason = "has no unit: seconds, minutes or hours?"
        raise ConfigError(
            [Problem(f"budget={text}", reason, accepted=accepted, type_this=f"budget={text}m")]
        )
    if not re.fullmatch(rf"(?:{_PART.pattern}\s*)+", text):
        raise ConfigError(
            [Problem(f"budget={text}", "is no time", accepted=accepted, type_this="budget=2h")]
        )
    seconds = sum(float(number) * UNITS[unit] for number, unit in _PART.findall(text))
    if not 0 < seconds <= MOST_SECONDS:
        reason = "is no time" if seconds <= 0 else "is more than a year"
        raise ConfigError(
            [Problem(f"budget={text}", reason, accepted=accepted, type_this="budget=2h")]
        )
    return seconds


def find_end(given: str | float | None) -> float | None:
    """Return when a budget that begins now is used up, in seconds since 1970; None for none.

    Raises:
        ConfigError: It is no time.
    """
    seconds = read_budget(given)
    return None if seconds is None else time.time() + seconds
