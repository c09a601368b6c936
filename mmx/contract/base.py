"""What a check is, how it is run, and what it says."""

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
"""``refuse(kind, options)``: why a config may not set such options; nothing where it may."""
_S = TypeVar("_S")

MADE, REPEATED = "made and called", "the same again"
BASICS = (MADE, REPEATED)
"""Checks without which most others say nothing."""
SEED = 2
"""Of what a part draws while it is called."""
MODES = {False: "in evaluation", True: "in training"}


class Broken(Exception):
    """A promise that does not hold: what was expected, and what was seen."""


class Untested(Exception):
    """A promise that could not be tested, and why."""


def accept_all(kind: type, options: Mapping[str, Any]) -> list[str]:
    """Refuse no option."""
    return []


@dataclass(frozen=True)
class Part:
    """A class with the options that it is made with.

    Attributes:
        kind: The class.
        options: Keyword arguments, of the annotated types.
        refuse: What holds options against the signature before anything is made of them.
    """

    kind: type
    options: Mapping[str, Any] = field(default_factory=dict)
    refuse: Refuse = accept_all

    def make(self, *given: Any, **supplied: Any) -> Any:
        """Return the class called with what its kind is given, and its options."""
        return self.kind(*given, **{**self.options, **supplied})


class Subject(ABC):
    """A part and how it is tried: what a kind tells the checks that all kinds share.

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
        holds: Returns a sentence of what held; raises Broken or Untested.
        needs: Names of checks, earlier in the list, without which this one says nothing.
    """

    name: str
    holds: Callable[[_S], str]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What a check found.

    Attributes:
        name: Of the check.
        state: Whether the promise held, or could not be tested.
        said: One sentence: what held; what was expected and seen; or why nothing was tested.
        trace: The traceback, where the class raised an exception.
    """

    name: str
    state: Outcome
    said: str
    trace: str | None = None


def run_checks(checks: Sequence[Check[_S]], subject: _S) -> Iterator[Result]:
    """Yield what each check finds, in order; what needs a promise that does not hold is skipped."""
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
    """Return what one check finds; draws come from a fixed seed, and disturb no others."""
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
        except (Exception, SystemExit) as error:  # whatever a class raises is what was found
            return Result(name, "failed", describe_fault(error), traceback.format_exc())
