"""What a refusal must say, whatever its words: what was given, accepted, closest, what to type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmx.errors import Problem


@dataclass(frozen=True)
class Refusal:
    """A problem but for the words of its reason.

    Attributes:
        given: As in :class:`~mmx.errors.Problem`; so are the last three.
        says: Facts that the reason names: values, keys, bounds.
    """

    given: str
    says: tuple[str, ...] = ()
    accepted: str | None = None
    closest: str | None = None
    type_this: str | None = None


def check_refusals(problems: Sequence[Problem], expected: Sequence[Refusal]) -> None:
    """Fail unless the problems are those expected, and each names its facts."""
    found = [
        Refusal(each.given, (), each.accepted, each.closest, each.type_this) for each in problems
    ]
    assert found == [replace(each, says=()) for each in expected]
    for problem, each in zip(problems, expected, strict=True):
        missing = [fact for fact in each.says if fact not in problem.reason]
        assert missing == [], problem.reason
