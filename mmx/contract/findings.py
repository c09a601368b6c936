"""The results of checks, formatted for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmx.contract.base import Part, Result

MARKS = {"passed": "✓", "failed": "✗", "skipped": "–"}
PLAIN_MARKS = {"passed": "ok  ", "failed": "FAIL", "skipped": "-   "}


def marks_for(encoding: str | None) -> dict[str, str]:
    """Return the marks of results that a stream of this encoding can show."""
    try:
        "".join(MARKS.values()).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return PLAIN_MARKS
    return MARKS


def format_result(result: Result, marks: dict[str, str]) -> str:
    """Return a result in one line."""
    return f"  {marks[result.state]} {result.name:26s} {result.said}"


def count_results(results: Sequence[Result]) -> str:
    """Return the last line: how many of the tested promises hold."""
    counts = {state: sum(each.state == state for each in results) for state in MARKS}
    tested = counts["passed"] + counts["failed"]
    rest = f", {counts['skipped']} not tested" if counts["skipped"] else ""
    return f"{counts['passed']} of {tested} checks passed{rest}"


def to_data(part: Part, kind: str, results: Sequence[Result]) -> dict[str, Any]:
    """Return all results as data for JSON."""
    checks = [{"name": e.name, "state": e.state, "said": e.said} for e in results]
    counts = {state: sum(each.state == state for each in results) for state in MARKS}
    name = f"{part.kind.__module__}:{part.kind.__qualname__}"
    return {"class": name, "kind": kind, "checks": checks, **counts}
