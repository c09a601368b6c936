"""Checks, the parts that they are run on, and their results."""

from __future__ import annotations

import traceback
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch

from mmx.contract.faults import describe_fault

Outcome = Literal["passed", "failed", "skipped"]
Refuse = Callable[[type, Mapping[str, Any]], list[str]]
"""``refuse(kind, options)``: the reasons why a config may not set them; empty if it may."""
_S = TypeVar("_S")

MADE, REPEATED = "made and called", "the same again"
BASICS = (MADE, REPEATED)
"""Checks that most others depend on."""
SEED = 2
"""Seed of the random draws of a call."""
MODES = {False: "in evaluation", True: "in training"}


class Broken(Exception):
    """A promise does not hold; the message says what was expected and what was seen."""


class Untested(Exception):
    """A promise cannot be tested; the message says why."""


def accept_all(kind: type, options: Mapping[str, Any]) -> list[str]:
    """Refuse no option."""
    return []


@dataclass(frozen=True)
class Part:
    """A class and the options to make it with.

    Attributes:
        kind: The class.
        options: Keyword arguments, of the annotated types.
        refuse: Checks options against the signature before anything is made of them.

    Example::

        part = Part(Concat, {"dropout": 0.1})
        fusion = part.make({"image": Widths(8), "text": Widths(5)}, outputs=3)
    """

    kind: type
    options: Mapping[str, Any] = field(default_factory=dict)
    refuse: Refuse = accept_all

    def make(self, *given: Any, **supplied: Any) -> Any:
        """Return an instance, made from the positional arguments of its kind and the options."""
        return self.kind(*given, **{**self.options, **supplied})


class Subject(ABC):
    """A part, and how parts of its kind are made and called.

    Each kind derives one; the checks that kinds share then need to know no kind.

    Attributes:
        part: The class and its options.
        positional: Number of arguments that mmx passes by position, before the options.
        supplied: Keyword arguments that mmx passes, closed to configs.
    """

    part: Part
    positional: ClassVar[int] = 0
    supplied: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def try_part(self, part: Part) -> None:
        """Make the class with other options and use it once.

        Raises:
            Broken: Numbers come out that are not finite.
        """


@dataclass(frozen=True)
class Check(Generic[_S]):
    """One promise of a contract.

    Attributes:
        name: What is promised, in a few words.
        holds: Returns a sentence on what holds; raises Broken or Untested.
        needs: Names of earlier checks that must pass for this one to mean anything.

    Example::

        def gives_finite_numbers(subject: FusionSubject) -> str:
            output = subject.call(subject.build(), subject.make_inputs())
            if not output.isfinite().all():
                raise Broken("expected finite numbers; seen NaN or infinity")
            return "finite"

        Check("finite", gives_finite_numbers, (MADE,))
    """

    name: str
    holds: Callable[[_S], str]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What a check found.

    Attributes:
        name: Name of the check.
        state: Whether the promise holds, is broken, or could not be tested.
        said: One sentence: what holds, what was expected and seen, or why it was not tested.
        trace: The traceback, where the class raised an exception.
    """

    name: str
    state: Outcome
    said: str
    trace: str | None = None


def run_checks(checks: Sequence[Check[_S]], subject: _S) -> Iterator[Result]:
    """Yield the result of each check, in order; skip those that need a promise that is broken."""
    passed, listed = set[str](), {each.name for each in checks}
    for each in checks:
        lacking = [name for name in each.needs if name in listed - passed]
        if lacking:
            yield Result(each.name, "skipped", f"says nothing unless “{lacking[0]}” holds")
            continue
        result = run_check(each.name, each.holds, subject)
        passed |= {each.name} if result.state == "passed" else set()
        yield result


def run_check(name: str, holds: Callable[[_S], str], subject: _S) -> Result:
    """Return the result of a check, run with a fixed seed in a copy of the random state."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        try:
            return Result(name, "passed", holds(subject))
        except Broken as broken:
            trace = traceback.format_exc() if broken.__cause__ else None
            return Result(name, "failed", str(broken), trace)
        except Untested as untested:
            return Result(name, "skipped", str(untested))
        except (Exception, SystemExit) as error:  # a user's class may raise anything
            return Result(name, "failed", describe_fault(error), traceback.format_exc())
