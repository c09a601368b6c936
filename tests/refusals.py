"""What a refusal must say, whatever its words: what was given, accepted, closest, what to type."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmx.errors import MmxError, Problem

PARTS = ("accepted", "closest", "type", "in")
"""How the lines of a printed problem begin, in the order of its fields."""


@dataclass(frozen=True)
class Refusal:
    """A problem but for the words of its reason.

    Attributes:
        given: As in :class:`~mmx.errors.Problem`; so are the last four, but for ``where``.
        says: Facts that the reason names: values, keys, bounds.
        where: As in :class:`~mmx.errors.Problem`; None says nothing of it.
    """

    given: str
    says: tuple[object, ...] = ()
    accepted: str | None = None
    closest: str | None = None
    type_this: str | None = None
    where: str | None = None


def check_refusals(problems: Sequence[Problem], expected: Sequence[Refusal]) -> None:
    """Fail unless the problems are those expected, and each names its facts."""
    found = [
        Refusal(each.given, (), each.accepted, each.closest, each.type_this) for each in problems
    ]
    assert found == [replace(each, says=(), where=None) for each in expected]
    for problem, each in zip(problems, expected, strict=True):
        missing = [fact for fact in map(str, each.says) if fact not in problem.reason]
        assert missing == [], problem.reason
        assert each.where in (None, problem.where)


def read_problem(text: str) -> Problem:
    """Return the problem that was printed so, after ``mmx:`` or a heading."""
    first, *rest = text.strip().removeprefix("mmx: ").split("\n")
    given, _, reason = first.partition(": ")
    lines = dict(line.strip().split(": ", 1) for line in rest)
    said = {key: lines.pop(key, "").strip() or None for key in PARTS}
    assert lines == {}, text
    return Problem(given, reason, *said.values())


def read_problems(text: str) -> list[Problem]:
    """Return the problems of a config that were printed so, heading included."""
    heading, *lines = text.strip().removeprefix("mmx: ").split("\n")
    assert re.fullmatch(r"1 problem in the config|\d+ problems in the config", heading), text
    found: list[str] = []
    for line in lines:
        if line.startswith("  "):
            found[-1] += f"\n{line}"
        else:
            found.append(line)
    assert heading.startswith(f"{len(found)} problem"), text
    return [read_problem(each) for each in found]


def read_error(text: str) -> MmxError:
    """Return the error that was printed so, on one line and one more for what to type."""
    message, *tips = text.strip().removeprefix("mmx: ").split("\n  tip: ")
    assert "\n" not in message, text
    (tip,) = tips or [None]
    return MmxError(message, tip=tip)


def check_error(
    error: BaseException, *says: object, types: Sequence[object] = (), lacks: str = ""
) -> None:
    """Fail unless an error names its facts and says what to type.

    Args:
        error: One of mmx, or one of Python's, which has no tip.
        says: Facts that the message names as words of their own, whatever stands between them:
            what was given, where, what is accepted, the closest.
        types: What the tip says to type.
        lacks: What the message does not say.
    """
    message, tip = str(getattr(error, "message", error)), getattr(error, "tip", None)
    missing = [fact for fact in map(str, says) if not _has_word(message, fact)]
    assert missing == [], message
    assert not lacks or not _has_word(message, lacks), message
    missing = [typed for typed in map(str, types) if not _has_word(tip or "", typed)]
    assert missing == [], tip


def _has_word(text: str, word: str) -> bool:
    """Return whether a text has a word that is not a part of a longer one."""
    before, after = (
        r"(?<!\w)" if word[0].isalnum() else "",
        r"(?!\w)" if word[-1].isalnum() else "",
    )
    return re.search(before + re.escape(word) + after, text) is not None


def check_notes(notes: Sequence[str], *expected: Sequence[object]) -> None:
    """Fail unless there are so many notes, and each names its facts.

    Args:
        notes: What was said, in order.
        expected: For each note the facts that it names as words of their own.
    """
    assert len(notes) == len(expected), notes
    for note, facts in zip(notes, expected, strict=True):
        missing = [fact for fact in map(str, facts) if not _has_word(note, fact)]
        assert missing == [], note
